"""Stage 'evaluate': every evaluation of the config, of the model with which the iteration ends."""

from ns_jax.artifact.metadata import network_of, read_metadata
from ns_jax.artifact.weights import load_artifact
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.parts import IncompleteError, Parts, measure
from ns_jax.evaluators.predictions import write_predictions
from ns_jax.evaluators.registry import EVALUATIONS
from ns_jax.experiment.chain import VALIDATION
from ns_jax.files import read_json_object, write_json
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import barrier, is_process_zero, raised_by_all
from ns_jax.parallel.mesh import check_divides
from ns_jax.planning.programs import evaluate_programs
from ns_jax.pseudo_labels.store import Selection
from ns_jax.report.results import wilson_interval
from ns_jax.run.inputs import check_classes
from ns_jax.run.iteration import Iteration
from ns_jax.run.settings import prediction_options, test_view
from ns_jax.run.stages import Stage
from ns_jax.run.validation import calibration_of, pool_folds


def run(iteration: Iteration) -> None:
    """Runs what is missing and writes one JSON file an evaluation, after the predictions that it is of.

    Raises:
      UserError: a result in the folder is of another model; or, after all others, something is missing for one.
    """
    config, predictor, problems = iteration.config, None, []
    fingerprint = read_metadata(iteration.result)["fingerprint"]
    for name, options in config.evaluations.items():
        path = iteration.paths.evaluation(name)
        if not path.exists():
            if name == VALIDATION and iteration.folds:
                if not has_folds(iteration):
                    continue  # a supervised control has none
                measured, source = pool_folds(iteration.folds), iteration.inputs.open_labeled(VALIDATION)
                result = about(iteration, name, options.type, source, 0) | measured
            else:
                predictor = predictor or make_predictor(iteration)
                try:
                    result = evaluate(iteration, name, options, predictor)
                except IncompleteError as error:
                    if not raised_by_all(error):
                        raise
                    problems.append(f"{name}: {error}")
                    continue
            predictions = result.pop("predictions", None)
            if name == VALIDATION and predictions is not None:
                result |= calibration_of(predictions)
            if is_process_zero():
                if predictions is not None:
                    write_predictions(iteration.paths.predictions(name), predictions)
                write_json(path, result)
            barrier(f"evaluate: {name} is written")
        result = read_json_object(path)
        if result.get("model") != fingerprint:
            raise UserError(f"{path} is of another model than {iteration.result}: delete it to evaluate again")
        iteration.say("evaluate", describe(name, result))
    if problems:
        raise UserError("; ".join(problems))


def make_predictor(iteration: Iteration) -> Predictor:
    """The model with which the iteration ends."""
    config, artifact = iteration.config, load_artifact(iteration.result)
    options = prediction_options(config, artifact.metadata["variant"], config.prediction_dtype)
    network = network_of(artifact.metadata, options)
    return Predictor(artifact, network, test_view(network.inputs), iteration.mesh, config.eval_batch_size)


def evaluate(iteration: Iteration, name: str, options, predictor: Predictor) -> dict:
    """The result of one evaluation, and what it is of."""
    field = options.data or "test"
    source = iteration.inputs.open_labeled(field)
    indices = iteration.inputs.evaluated(field, source)
    description = about(iteration, name, options.type, source, source.count - len(iteration.inputs.readable(source)))
    parts_of = {"model": description["model"], "test": source.name, "options": as_json(options)}
    parts = Parts(iteration.paths.evaluation_parts(name), parts_of)
    return description | measure(EVALUATIONS.get(options.type), predictor, source, indices, options, parts)


def as_json(options) -> dict:
    """The options of an evaluation as JSON gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.to_dict().items()}


def has_folds(iteration: Iteration) -> bool:
    """Whether an iteration is among those that cross-validation repeats."""
    return all(paths.folder.exists() for paths in iteration.folds)


def about(iteration: Iteration, name: str, kind: str, source: Source, skipped: int) -> dict:
    """What an evaluation is of."""
    metadata = read_metadata(iteration.result)
    result = {
        "evaluation": name,
        "type": kind,
        "iteration": iteration.name or "model",
        "paper_row": iteration.config.paper_row,
        "test": source.name,
        "skipped": skipped,
        "variant": metadata["variant"],
        "steps": metadata["steps"],
        "model": metadata["fingerprint"],
        "unlabeled_ratio": 0,
        "pseudo_labels": 0,
        "pseudo_labels_kept": 0,
    }
    if iteration.teacher is not None:
        result["unlabeled_ratio"] = iteration.config.unlabeled_ratio
    if iteration.has_stored_labels:
        selected = Selection(iteration.paths.selection).manifest("pseudo_labels", "kept")
        result |= {"pseudo_labels": selected["pseudo_labels"], "pseudo_labels_kept": selected["kept"]}
    return result


def describe(name: str, result: dict) -> str:
    """One line about a result: accuracy with its interval where it has one, else its numbers."""
    if "top1" not in result:
        numbers = {key: value for key, value in result.items() if isinstance(value, float)}
        return f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
    low, high = wilson_interval(result["correct"], result["count"])
    top5 = f", top-5 {100 * result['top5']:.2f} %" if "top5" in result else ""
    temperature = f", temperature {result['temperature']:.2f}" if "temperature" in result else ""
    return (
        f"{name} top-1 {100 * result['top1']:.2f} % ({100 * low:.1f} to {100 * high:.1f}){top5}, "
        f"{result['count']} images{temperature}"
    )


def check(iteration: Iteration) -> None:
    """Raises UserError if a batch does not divide, or an evaluation or its images are not there."""
    config = iteration.config
    check_divides("eval_batch_size", config.eval_batch_size, iteration.mesh)
    for options in config.evaluations.values():
        function = EVALUATIONS.get(options.type)
        source = iteration.inputs.open_labeled(options.data or "test")
        if check_source := getattr(function, "check_source", None):
            check_source(source)
        if "train" in config.stages and not options.data:
            labeled = iteration.inputs.open_labeled("labeled")
            check_classes(labeled.name, labeled.class_names, source)


STAGE = Stage(run, check=check, programs=evaluate_programs)
