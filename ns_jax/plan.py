"""Compiles an experiment for TPUs that are not there: memory, arithmetic, network and days.

  python -m ns_jax.plan --config=configs/l2_iter1.py --topology=v3:32x32

Needs libtpu (the extra [tpu]), but no TPU.
"""

import json
import os
import sys

from absl import app, flags

from ns_jax.command_line import fail, parse_flags
from ns_jax.errors import UserError
from ns_jax.experiment.chain import only_stages

FLAGS = flags.FLAGS
flags.DEFINE_string("topology", None, "A slice of TPUs in chips: v3:32x32, v4:4x4x8, v5e:16x16, v5p:8x8x8, v6e:16x16.")
flags.DEFINE_bool("search", False, "Find the cheapest config.parallel with which training fits.")
flags.DEFINE_bool("json", False, "Print JSON.")
flags.DEFINE_float("utilization", 0.35, "Share of the peak FLOP/s that is reached, for the days.", 0.01, 1.0)
flags.DEFINE_string(
    "teacher_variant", "", "Row of the teacher where its folder is not there; the student's by default."
)
flags.DEFINE_integer("teacher_resolution", 0, "Pixels at which the teacher labels; those of its row by default.")
flags.DEFINE_integer("num_labeled", 1_281_167, "Labeled images; ImageNet's by default.", 1)
flags.DEFINE_integer("num_unlabeled", 300_000_000, "Images to label; the paper's by default.", 1)
flags.DEFINE_integer("num_test", 50_000, "Test images; ImageNet's by default.", 1)
flags.DEFINE_integer("num_classes", 1000, "Classes; ImageNet's by default.", 1)
flags.mark_flag_as_required("topology")


def find_teacher(config):
    """The teacher of an iteration without one in the plan: of its own metadata where it is there, else of the flags."""
    from etils import epath

    from ns_jax.artifact.metadata import has_artifact, read_metadata
    from ns_jax.models.base import ArrayInputs
    from ns_jax.models.registry import get_architecture
    from ns_jax.planning.programs import Teacher

    folder = epath.Path(config.teacher) if config.teacher else None
    if folder and not FLAGS.teacher_variant and has_artifact(folder):
        metadata = read_metadata(folder)
        return Teacher(get_architecture(metadata["variant"]), FLAGS.teacher_resolution or metadata["resolution"])
    architecture = get_architecture(FLAGS.teacher_variant or config.variant)
    if isinstance(architecture.inputs, ArrayInputs):
        return Teacher(architecture, None)
    return Teacher(architecture, FLAGS.teacher_resolution or architecture.inputs.test_resolution)


def plan_iteration(config, name: str, generation, devices, counts, teacher):
    """The plan of one iteration; its progress, and that of the search, goes to stderr."""
    from ns_jax.parallel.mesh import make_mesh
    from ns_jax.planning.estimate import estimate
    from ns_jax.planning.iteration import iteration_programs
    from ns_jax.planning.search import search
    from ns_jax.planning.text import Plan

    def programs(candidate):
        mesh = make_mesh(candidate.parallel.shard_state, devices)
        return iteration_programs(candidate, mesh, counts, teacher)

    def training(candidate):
        return next(program for program in programs(candidate) if program.stage == "train")

    def say(line: str) -> None:
        print(f"{name} {line}".strip(), file=sys.stderr, flush=True)

    estimates = {}
    if FLAGS.search:
        best = search(config, len(devices), generation.hbm_bytes, training, say)
        if best is None:
            raise UserError(
                f"training does not fit on {FLAGS.topology} with any config.parallel: lower labeled_batch_size "
                "(the unlabeled batch goes with it), or take a larger slice"
            )
        config, estimates["train"] = best
    listed = programs(config)
    if not listed:
        raise UserError(f"{name or 'the config'} has nothing to compile in the stages {', '.join(config.stages)}")
    for program in listed:
        if program.stage not in estimates:
            estimates[program.stage] = estimate(program, len(devices))
            say(f"{program.stage}: compiled in {estimates[program.stage].compile_seconds:.0f} s")
    in_order = [estimates[program.stage] for program in listed]
    return Plan(name, config, in_order, FLAGS.topology, generation, FLAGS.utilization, counts, teacher)


def run() -> None:
    """Prints the plan.

    Raises:
      UserError: something does not fit, or cannot be planned.
    """
    from ns_jax.experiment.chain import iterations
    from ns_jax.experiment.fields import validate
    from ns_jax.planning.hardware import describe_topology, parse_topology
    from ns_jax.planning.programs import Counts, result_of
    from ns_jax.planning.text import advice, as_json, as_text

    if FLAGS.stages:
        only_stages(FLAGS.config, FLAGS.stages)
    validate(FLAGS.config)
    generation, _, _ = parse_topology(FLAGS.topology)
    devices = describe_topology(FLAGS.topology).devices
    counts = Counts(FLAGS.num_labeled, FLAGS.num_unlabeled, FLAGS.num_test, FLAGS.num_classes)
    problems, plans, teacher = [], [], None
    for name, config in iterations(FLAGS.config):
        teacher = teacher or find_teacher(config)
        plan = plan_iteration(config, name, generation, devices, counts, teacher)
        for estimate in plan.estimates:
            if not estimate.fits:
                problems.append(f"{name} {estimate.stage}".strip() + advice(estimate, generation, FLAGS.search))
        plans.append(as_json(plan))
        if not FLAGS.json:
            print(as_text(plan), end="\n\n", flush=True)
        teacher = result_of(plan.config)
    if FLAGS.json:
        print(json.dumps(plans, indent=1))
    if problems:
        raise UserError(f"does not fit on {FLAGS.topology}: {'; '.join(problems)}")


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    try:
        run()
    except UserError as error:
        fail(error)


if __name__ == "__main__":
    # Before jax is imported: the compiler needs no accelerator, and must not take this machine's.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main, flags_parser=parse_flags)
