"""Measures a trained model: python -m ns_jax.evaluate --model=X --suite=robustness --data=SOURCE --out=FOLDER."""

import os
import sys

from absl import app, flags, logging

from ns_jax.buckets import absolute
from ns_jax.command_line import fail, one_line
from ns_jax.errors import UserError
from ns_jax.host_memory import restart_with_kept_memory, use_cpu_alone
from ns_jax.interrupt import end_at_interrupt
from ns_jax.session import one_line_errors, set_up

FLAGS = flags.FLAGS
SUITE_NAMES = ("robustness", "imagenet")


def define_flags() -> None:
    """Defines this command's flags. Not at import, as other commands have some of the same names."""
    flags.DEFINE_string("model", None, "A path or a name, as for ns_jax.load.")
    flags.DEFINE_string("variant", None, "Name of a model variant, or package.module:factory; recognised if not given.")
    flags.DEFINE_enum("suite", "robustness", SUITE_NAMES, "What to measure; docs/robustness.md says what is in it.")
    flags.DEFINE_string(
        "data", None, "Labeled images, as folder:PATH; of the suite imagenet the folder of its sets, or tfds."
    )
    flags.DEFINE_string(
        "out", None, "Folder of the results, one JSON file each. An interrupted command continues there."
    )
    flags.DEFINE_string("baseline", "", "What mCE and mFR are relative to: 'alexnet', or another model's --out.")
    flags.DEFINE_list("only", [], "Only these evaluations of the suite.")
    flags.DEFINE_integer("batch_size", 256, "Images at once, over all devices.", lower_bound=1)
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
    flags.DEFINE_string("data_dir", "", "Where TFDS keeps its data.")
    flags.DEFINE_string("paper_row", "", "'TABLE/ROW' of the paper with which report.tables compares the results.")
    flags.DEFINE_bool("distributed", False, "One of several hosts; cluster and addresses are found by jax.distributed.")
    flags.mark_flags_as_required(["model", "data", "out"])


def open_predictor():
    """The model of the flags on all devices.

    Raises:
      UserError: it cannot be opened, takes no images, or the batch does not divide.
    """
    import jax.numpy as jnp

    from ns_jax.artifact.metadata import network_of
    from ns_jax.inference.model import read
    from ns_jax.inference.predictor import Predictor
    from ns_jax.models.base import BuildOptions
    from ns_jax.parallel.mesh import make_mesh
    from ns_jax.run.settings import test_view

    artifact = read(FLAGS.model, FLAGS.variant)
    network = network_of(artifact.metadata, BuildOptions(dtype=jnp.dtype(FLAGS.dtype)))
    view = test_view(network.inputs)
    if view is None:
        raise UserError(f"--model={FLAGS.model} takes arrays, and these evaluations are of images")
    return artifact, Predictor(artifact, network, view, make_mesh(), FLAGS.batch_size)


def run() -> list[str]:
    """Runs the suite of the flags; returns what could not be measured, a line each."""
    from etils import epath

    from ns_jax.artifact.weights import fingerprint_of
    from ns_jax.evaluators.suites import SUITES, with_defaults
    from ns_jax.parallel.hosts import raised_by_all
    from ns_jax.report.progress import say

    out = epath.Path(absolute(FLAGS.out))
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    set_up(out)
    if FLAGS.distributed:
        from ns_jax.parallel.start import join_hosts

        join_hosts()
    artifact, predictor = open_predictor()
    suite = with_defaults(SUITES[FLAGS.suite](FLAGS.data, predictor.view, FLAGS.baseline))
    unknown = [name for name in FLAGS.only if name not in suite]
    if unknown:
        raise UserError(f"--only={unknown[0]}: the suite has {', '.join(suite)}")
    say(f"evaluate: {', '.join(FLAGS.only or suite)}")
    problems: list[str] = []
    about = {
        "iteration": "model",
        "paper_row": FLAGS.paper_row,
        "variant": artifact.metadata["variant"],
        "model": artifact.metadata.get("fingerprint") or fingerprint_of(artifact.variables),
        "model_path": FLAGS.model,
        "exif_orientation": artifact.metadata.get("exif_orientation", False),
    }
    for name in FLAGS.only or suite:
        try:
            evaluate(name, suite[name], predictor, about, out, problems)
        except UserError as error:
            if not raised_by_all(error):
                raise
            problems.append(f"{name}: {error}")
    if FLAGS.distributed:
        from ns_jax.parallel.start import leave_hosts

        leave_hosts()
    return problems


def evaluate(name: str, options: dict, predictor, about: dict, out, problems: list[str]) -> None:
    """Writes OUT/NAME.json, unless it is there; adds unreadable images to `problems`.

    Raises:
      UserError: it cannot be measured, or the file is of another model or other options.
    """
    import time

    from ns_jax.data.pipeline import readable_examples
    from ns_jax.data.sources.orientation import oriented
    from ns_jax.data.sources.registry import open_source
    from ns_jax.evaluators.parts import Parts, measure
    from ns_jax.evaluators.predictions import write_predictions
    from ns_jax.evaluators.registry import EVALUATIONS
    from ns_jax.files import read_json, write_json
    from ns_jax.parallel.hosts import barrier, is_process_zero, process_zero_first
    from ns_jax.report.progress import say
    from ns_jax.stages.evaluate import describe

    path = out / f"{name}.json"
    stored = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    if path.exists():
        result = read_json(path)
        if result.get("model") != about["model"] or result.get("options") != stored:
            raise UserError(f"{path} is of another model or of other options: delete it, or choose another --out")
    else:
        begin = time.monotonic()
        source = process_zero_first(lambda: open_source(options["data"], FLAGS.data_dir))
        if about["exif_orientation"]:
            source = oriented(source)
        indices = process_zero_first(lambda: readable_examples(source, 0.999, out / "data"))
        parts_of = {"model": about["model"], "test": source.name, "options": stored}
        parts = Parts(out / f"{name}.parts", parts_of)
        result = {
            "evaluation": name,
            "type": options["type"],
            "test": source.name,
            "skipped": source.count - len(indices),
            **about,
            "options": stored,
        }
        result |= measure(EVALUATIONS.get(options["type"]), predictor, source, indices, options, parts)
        result["seconds"] = round(time.monotonic() - begin, 3)
        predictions = result.pop("predictions", None)
        if is_process_zero():
            if predictions is not None:
                write_predictions(out / f"{name}.npz", predictions)
            write_json(path, result)
        barrier(f"evaluate: {name} is written")
    if is_process_zero():
        say(f"evaluate: {describe(name, result)}")
    if result.get("skipped"):
        problems.append(f"{name}: {result['skipped']} images of {result['test']} cannot be read, and are left out")


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    with one_line_errors(FLAGS.out, FLAGS.distributed):
        problems = run()
    for problem in problems:
        print(f"error: {one_line(problem)}", file=sys.stderr)
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    restart_with_kept_memory()
    end_at_interrupt("interrupted; start again to continue")
    define_flags()
    app.run(main)
