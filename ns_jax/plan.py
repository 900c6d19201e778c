"""Compiles an experiment for TPUs that are not there: memory, arithmetic, network and days.

  python -m ns_jax.plan --config=configs/l2_iter1.py --topology=v3:32x32

Needs libtpu (the extra [tpu]), but no TPU.
"""

import functools
import json
import os
import sys

from absl import app, flags

from ns_jax.command_line import fail, parse_flags
from ns_jax.errors import UserError
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "topology",
    None,
    "A slice of TPUs in chips: v3:32x32, v4:4x4x8, v5e:16x16, v5p:8x8x8, v6e:16x16; or several: 2xv5e:16x16.",
)
flags.DEFINE_bool("search", False, "Find the cheapest config.parallel with which training fits.")
flags.DEFINE_bool("json", False, "Print JSON.")
flags.DEFINE_float(
    "utilization",
    0.14,
    "Share of the peak FLOP/s that is reached, for the days; the default is the paper's.",
    0.01,
    1.0,
)
flags.DEFINE_string("price_per_chip_hour", None, "Of a chip and hour, in any currency: the plan says the price.")
flags.DEFINE_integer("image_bytes", 110_000, "Of an encoded image, on average.", 1)
flags.DEFINE_string("save", None, "Folder for the compiled programs.")
flags.DEFINE_string(
    "teacher_variant", "", "Variant of the teacher where its folder is not there; the student's by default."
)
flags.DEFINE_integer("teacher_resolution", 0, "Pixels at which the teacher labels; its variant's by default.")
flags.DEFINE_integer("num_labeled", 1_281_167, "Labeled images; ImageNet's by default.", 1)
flags.DEFINE_integer("num_unlabeled", 300_000_000, "Images to label; the paper's by default.", 1)
flags.DEFINE_integer("num_selected", 81_000_000, "Of these, with a selection_from; the paper's by default.", 1)
flags.DEFINE_integer("num_test", 50_000, "Test images; ImageNet's by default.", 1)
flags.DEFINE_integer("num_classes", 1000, "Classes; ImageNet's by default.", 1)
flags.mark_flags_as_required(["config", "topology"])


def run() -> None:
    """Prints the plan of every iteration.

    Raises:
      UserError: something does not fit, or cannot be planned.
    """
    from ns_jax.experiment.chain import iterations, only_stages
    from ns_jax.experiment.checks import validate
    from ns_jax.planning.hardware import describe_topology, parse_price, parse_topology
    from ns_jax.planning.iteration import find_teacher
    from ns_jax.planning.programs import Counts, result_of
    from ns_jax.planning.text import as_json, as_text, problems

    if FLAGS.stages:
        only_stages(FLAGS.config, FLAGS.stages)
    validate(FLAGS.config)
    topology, price = parse_topology(FLAGS.topology), parse_price(FLAGS.price_per_chip_hour)
    if FLAGS.save and FLAGS.search:
        raise UserError("--save keeps the programs of a config as it is: leave out --search")
    devices = describe_topology(FLAGS.topology).devices
    counts = Counts(FLAGS.num_labeled, FLAGS.num_unlabeled, FLAGS.num_selected, FLAGS.num_test, FLAGS.num_classes)
    plans, too_large, teacher = [], [], None
    for name, config in iterations(FLAGS.config):
        teacher = teacher or find_teacher(config, FLAGS.teacher_variant, FLAGS.teacher_resolution)
        plan = make_plan(config, name, topology, devices, counts, teacher, price)
        if not plan.estimates:
            raise UserError(f"{name or 'the config'} has nothing to compile in the stages {', '.join(config.stages)}")
        plans.append(plan)
        too_large += problems(plan, searched=FLAGS.search)
        if not FLAGS.json:
            print(as_text(plan), end="\n\n", flush=True)
        teacher = result_of(config)
    if FLAGS.json:
        print(json.dumps([as_json(plan) for plan in plans], indent=1))
    if too_large:
        raise UserError(f"does not fit on {FLAGS.topology}: {'; '.join(too_large)}")


def make_plan(config, name: str, topology, devices, counts, teacher, price: float | None):
    """The `Plan` of one iteration; prints on the way what is compiled, on stderr.

    Raises:
      UserError: a batch cannot be split over the devices, or the search finds nothing that fits.
    """
    from etils import epath

    from ns_jax.parallel.device_order import order_devices
    from ns_jax.parallel.mesh import make_mesh
    from ns_jax.planning.estimate import estimate
    from ns_jax.planning.iteration import iteration_programs
    from ns_jax.planning.save import save_compiled
    from ns_jax.planning.search import search
    from ns_jax.planning.text import Plan

    def programs(config):
        return iteration_programs(config, make_mesh(config.parallel.shard_state, devices), counts, teacher)

    def training(config):
        return next(program for program in programs(config) if program.stage == "train")

    def say(line: str) -> None:
        print(f"{name} {line}".strip(), file=sys.stderr, flush=True)

    def keep(stage: str, compiled) -> None:
        if FLAGS.save:
            title = f"{name}-{stage}" if name else stage
            say(f"{stage}: {save_compiled(compiled, epath.Path(FLAGS.save), title, topology.name)}")

    best = None
    if FLAGS.search:
        if "train" not in config.stages:
            raise UserError(f"--search is for training, and the stages are {', '.join(config.stages)}")
        best = search(config, len(devices), topology.generation.hbm_bytes, training, say)
        if best is None:
            raise UserError(
                f"training does not fit on {FLAGS.topology} with any config.parallel: lower labeled_batch_size "
                "(the unlabeled batch goes with it), or take a larger slice"
            )
        config = best.config
    estimates = []
    for program in programs(config):
        if best is not None and program.stage == "train":
            estimates.append(best.estimate)
            continue
        estimates.append(estimate(program, len(devices), functools.partial(keep, program.stage)))
        say(f"{program.stage}: compiled in {estimates[-1].compile_seconds:.0f} s")
    taught_by = teacher if config.data.unlabeled else None
    return Plan(
        name=name,
        config=config,
        topology=topology,
        counts=counts,
        teacher=taught_by,
        estimates=estimates,
        utilization=FLAGS.utilization,
        image_bytes=FLAGS.image_bytes,
        price=price,
        mesh_note=order_devices(config.parallel.shard_state, list(devices)).note,
    )


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
    end_at_interrupt("interrupted")
    app.run(main, flags_parser=parse_flags)
