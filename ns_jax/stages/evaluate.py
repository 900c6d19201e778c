"""Stage 'evaluate': top-1 and top-5 of this iteration's model on every test image."""

import jax
import numpy as np

from ns_jax.artifact.weights import load_artifact
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import barrier, is_lead, sum_over_hosts
from ns_jax.report.progress import StageProgress
from ns_jax.report.results import wilson_interval
from ns_jax.run.iteration import Iteration, check_classes
from ns_jax.stages.select import selection_of


def result_path(iteration: Iteration):
    return iteration.workdir / "evaluation.json"


def run(iteration: Iteration) -> None:
    """Counts every test image once and writes the result as JSON."""
    path = result_path(iteration)
    if not path.exists():
        result = _evaluate(iteration)
        if is_lead():
            write_json(path, result)
        barrier("evaluate: written")
    result = read_json(path)
    if result["model"] != load_artifact(iteration.result_dir).fingerprint:
        raise UserError(f"{path} is of another model than {iteration.result_dir}: delete it to evaluate again")
    low, high = wilson_interval(result["correct"], result["count"])
    iteration.say(
        "evaluate",
        f"test top-1 {100 * result['top1']:.2f} % ({100 * low:.1f} to {100 * high:.1f}), "
        f"top-5 {100 * result['top5']:.2f} %, {result['count']} images",
    )


def _evaluate(iteration: Iteration) -> dict:
    artifact = load_artifact(iteration.result_dir)
    source = iteration.open_labeled("test")
    check_classes(f"the model {iteration.result_dir}", artifact.card["class_names"], source)
    readable = iteration.readable(source)
    predictor = Predictor(iteration, artifact)
    hosts = jax.process_count()
    num_batches = predictor.num_batches(-(-len(readable) // hosts))
    mine = readable[jax.process_index() :: hosts]
    counts = np.zeros(3, np.int64)  # images, top-1, top-5
    nll = np.zeros(1)
    with StageProgress(iteration.title("evaluate"), num_batches, shown=is_lead()) as progress:
        for done, (probs, labels, _) in enumerate(predictor(source, mine, num_batches), 1):
            of_label = probs[np.arange(len(labels)), labels]
            # A label that ties with others ranks behind them: a constant model scores nothing.
            rank = (~(probs < of_label[:, None])).sum(1)
            counts += [len(labels), (rank <= 1).sum(), (rank <= 5).sum()]
            nll -= np.log(np.maximum(of_label.astype(np.float64), 1e-30)).sum()
            progress.update(done, f"{counts[0]} images")
    count, correct, correct5 = sum_over_hosts(counts).tolist()
    if count != len(readable):
        raise RuntimeError(f"{count} of {len(readable)} test images were evaluated")
    result = {
        "iteration": iteration.name or "model",
        "paper_row": iteration.config.paper_row,
        "test": source.name,
        "variant": artifact.card["variant"],
        "steps": artifact.card["steps"],
        "count": count,
        "skipped": source.count - count,
        "correct": correct,
        "top1": correct / count,
        "top5": correct5 / count,
        "cross_entropy": float(sum_over_hosts(nll)[0] / count),
        "model": artifact.fingerprint,
        "unlabeled_ratio": 0,
        "pseudo_labels": 0,
        "pseudo_labels_kept": 0,
    }
    if iteration.teacher is not None:
        result["unlabeled_ratio"] = iteration.config.unlabeled_ratio
    if iteration.has_stored_labels:
        selected = selection_of(iteration).manifest()
        result |= {"pseudo_labels": selected["pseudo_labels"], "pseudo_labels_kept": selected["kept"]}
    return result
