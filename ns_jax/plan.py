"""Compiles an experiment for TPUs that are not there: memory, arithmetic, network and days.

  python -m ns_jax.plan --config=configs/l2_iter1.py --topology=v3:32x32

Needs libtpu (the extra [tpu]), but no TPU.
"""

import dataclasses
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

GIB = 2**30
# Section 3.1: "six days" on a Cloud TPU v3 Pod of 2048 cores, unlabeled batch 14 times the labeled one.
PAPER = {"variant": "efficientnet-l2", "unlabeled_ratio": 14, "devices": 2048, "days": 6.0}


def find_teacher(config):
    """(row, resolution in pixels) of an iteration's teacher: its own card where it is there, else of the flags."""
    from etils import epath

    from ns_jax.artifact.weights import has_artifact, load_artifact
    from ns_jax.models.variants import get_variant

    folder = epath.Path(config.teacher) if config.teacher else None
    if folder and not FLAGS.teacher_variant and has_artifact(folder):
        card = load_artifact(folder).card
        return get_variant(card["variant"]), FLAGS.teacher_resolution or card["resolution"]
    row = get_variant(FLAGS.teacher_variant or config.variant)
    return row, FLAGS.teacher_resolution or row.test_resolution


def make_plan(config, name: str, generation, topology_devices, counts, teacher) -> tuple:
    """(config, estimates) of one iteration, its lines of the search printed on the way."""
    from ns_jax.parallel.mesh import make_mesh
    from ns_jax.planning.estimate import estimate
    from ns_jax.planning.programs import programs
    from ns_jax.planning.search import search

    count = len(topology_devices)
    listed = lambda one: programs(one, make_mesh(one.parallel.shard_state, topology_devices), counts, teacher)
    say = lambda line: print(f"{name} {line}".strip(), file=sys.stderr, flush=True)
    found = {}
    if FLAGS.search:
        training = lambda one: next(program for program in listed(one) if program.stage == "train")
        best = search(config, count, generation.hbm_bytes, training, say)
        if best is None:
            raise UserError(
                f"training does not fit on {FLAGS.topology} with any config.parallel: lower labeled_batch_size "
                "(the unlabeled batch goes with it), or take a larger slice"
            )
        config, found["train"] = best
    for program in listed(config):
        if program.stage not in found:
            found[program.stage] = estimate(program, count)
            say(f"{program.stage}: compiled in {found[program.stage].compile_seconds:.0f} s")
    return config, [found[program.stage] for program in listed(config)]


def table(estimates, row) -> str:
    """A column for each program."""
    from ns_jax.report.results import markdown_table

    bounds = [one.roofline(row) for one in estimates]
    kinds = dict.fromkeys(kind for one in estimates for kind in one.memory)
    gib = lambda size: f"{size / GIB:.2f}"
    measured = lambda one, text: text if one.fits else "-"
    lines = {
        "images a run, of one device": [f"{one.images}, {one.images / one.devices:g}" for one in estimates],
        "resolution, pixels": [str(one.resolution) for one in estimates],
        **{
            f"{kind}, GiB": [gib(one.memory[kind]) if kind in one.memory else "-" for one in estimates]
            for kind in kinds
        },
        f"memory of {gib(row.hbm_bytes)} GiB": [
            gib(one.memory_total) if one.fits else f"at least {gib(one.memory_total)}" for one in estimates
        ],
        "code beside it, GiB": [measured(one, gib(one.code_bytes or 0)) for one in estimates],
        "fits": ["yes" if one.fits else "NO" for one in estimates],
        "TFLOP a run, all devices": [f"{sum(one.flops.values()) / 1e12:.4g}" for one in estimates],
        "of these depthwise": [f"{one.flops['depthwise'] / sum(one.flops.values()):.1%}" for one in estimates],
        "memory traffic, GB": [measured(one, f"{(one.hbm_bytes or 0) / 1e9:.4g}") for one in estimates],
        "sent, MB": [measured(one, f"{sum(part.sent_bytes for part in one.traffic) / 1e6:.4g}") for one in estimates],
        "at least ms: compute": [f"{1e3 * one['compute']:.3g}" for one in bounds],
        "at least ms: memory": [
            measured(one, f"{1e3 * bound['memory']:.3g}") for one, bound in zip(estimates, bounds, strict=True)
        ],
        "at least ms: network": [
            measured(one, f"{1e3 * bound['network']:.3g}") for one, bound in zip(estimates, bounds, strict=True)
        ],
        "runs": [str(one.runs) for one in estimates],
        f"days at {FLAGS.utilization:.0%}": [f"{one.days(row, FLAGS.utilization):.2f}" for one in estimates],
        "compiled here in s": [f"{one.compile_seconds:.0f}" for one in estimates],
    }
    return markdown_table(
        ["of one device", *(one.stage for one in estimates)], [[key, *cells] for key, cells in lines.items()]
    )


def report(config, name: str, estimates, row, counts, teacher) -> str:
    levers = ", ".join(f"{key}={value}" for key, value in config.parallel.items())
    total = sum(one.days(row, FLAGS.utilization) for one in estimates)
    taught = f", taught by {teacher[0].name} at {teacher[1]} px" if config.data.unlabeled else ""
    text = [
        f"{name} {config.variant}{taught} on {FLAGS.topology}: {estimates[0].devices} devices of {row.name}, "
        f"each {row.flops / 1e12:g} TFLOP/s, {row.hbm_bytes / GIB:.2f} GiB".strip(),
        f"config.parallel: {levers}",
        f"{counts.labeled} labeled, {counts.unlabeled} unlabeled, {counts.test} test images, {counts.classes} classes",
        "",
        table(estimates, row),
        "",
    ]
    for one in estimates:
        for part in one.traffic:
            text.append(
                f"{one.stage}: {part.times} x {part.kind} among {part.group_size} devices, "
                f"{part.sent_bytes / 1e6:.2f} MB sent by each device"
            )
    text.append(
        f"\n{total:.2f} days in all: {FLAGS.utilization:.0%} of the peak FLOP/s, recomputation counted, or slower "
        "where memory or network are"
    )
    training = next((one for one in estimates if one.stage == "train"), None)
    paper = (
        f"The paper: {PAPER['days']:g} days for {PAPER['variant']} at {PAPER['unlabeled_ratio']}:1 on "
        f"{PAPER['devices']} cores of v3"
    )
    if training and all(
        now == PAPER[key]
        for key, now in (
            ("variant", config.variant),
            ("unlabeled_ratio", config.unlabeled_ratio),
            ("devices", training.devices),
        )
    ):
        share = training.runs * training.roofline(row)["compute"] / 86400 / PAPER["days"]
        paper += f"; training would take as long at {share:.0%}"
    return "\n".join([*text, paper])


def as_json(config, name: str, estimates, row) -> dict:
    programs = [
        dataclasses.asdict(one) | {"roofline_seconds": one.roofline(row), "days": one.days(row, FLAGS.utilization)}
        for one in estimates
    ]
    return {
        "iteration": name,
        "topology": FLAGS.topology,
        "hbm_limit_bytes": row.hbm_bytes,
        "parallel": config.parallel.to_dict(),
        "utilization": FLAGS.utilization,
        "programs": programs,
        "paper": PAPER,
    }


def run() -> None:
    """Prints the plan.

    Raises:
      UserError: something does not fit, or cannot be planned.
    """
    from ns_jax.experiment.chain import iterations
    from ns_jax.experiment.fields import validate
    from ns_jax.planning.hardware import describe_topology, parse_topology
    from ns_jax.planning.programs import Counts

    if FLAGS.stages:
        only_stages(FLAGS.config, FLAGS.stages)
    validate(FLAGS.config)
    row, _, _ = parse_topology(FLAGS.topology)
    devices = describe_topology(FLAGS.topology).devices
    counts = Counts(FLAGS.num_labeled, FLAGS.num_unlabeled, FLAGS.num_test, FLAGS.num_classes)
    problems, found, teacher = [], [], None
    for name, config in iterations(FLAGS.config):
        teacher = teacher or find_teacher(config)
        config, estimates = make_plan(config, name, row, devices, counts, teacher)
        if not estimates:
            raise UserError(f"{name or 'the config'} has nothing to compile in the stages {', '.join(config.stages)}")
        problems += [f"{name} {one.stage}".strip() + advice(one, row) for one in estimates if not one.fits]
        if FLAGS.json:
            found.append(as_json(config, name, estimates, row))
        else:
            print(report(config, name, estimates, row, counts, teacher), end="\n\n", flush=True)
        teacher = get_result(config)
    if FLAGS.json:
        print(json.dumps(found, indent=1))
    if problems:
        raise UserError(f"does not fit on {FLAGS.topology}: {'; '.join(problems)}")


def advice(found, row) -> str:
    """What to do about a program that does not fit."""
    from ns_jax.planning.estimate import would_fit

    larger = would_fit(found, row)
    levers = (
        " --search looks for a config.parallel with which it does"
        if found.stage == "train" and not FLAGS.search
        else ""
    )
    return f" ({found.memory_total / GIB:.1f} of {row.hbm_bytes / GIB:.2f} GiB; " + (
        f"{larger} may do.{levers})" if larger else f"no slice has enough as it is.{levers})"
    )


def get_result(config):
    """(row, resolution in pixels) of what an iteration makes."""
    from ns_jax.experiment.chain import finetune_config
    from ns_jax.models.variants import get_variant

    row = get_variant(config.variant)
    last = finetune_config(config, "model") if config.finetune.epochs else config
    return row, last.test_resolution or row.test_resolution


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
