"""A plan as text for people and as JSON."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from ns_jax.planning.estimate import Estimate, would_fit
from ns_jax.planning.hardware import GIB, Generation
from ns_jax.planning.programs import Counts, Teacher
from ns_jax.report.results import markdown_table

# Section 3.1: "six days" on a Cloud TPU v3 Pod of 2048 cores, unlabeled batch 14 times the labeled one.
PAPER = {"variant": "efficientnet-l2", "unlabeled_ratio": 14, "devices": 2048, "days": 6.0}
NOTHING = "-"


@dataclasses.dataclass(frozen=True)
class Plan:
    """One iteration on a slice of TPUs.

    Attributes:
      name: of the iteration; '' without a chain.
      config: of the iteration, with the `parallel` that was planned.
      topology: as 'v3:32x32'.
      generation: of its TPUs.
      counts: of the data.
      teacher: None for supervised training.
      estimates: of the programs, in the order of the stages.
      utilization: share of the peak FLOP/s that is reached.
    """

    name: str
    config: ConfigDict
    topology: str
    generation: Generation
    counts: Counts
    teacher: Teacher | None
    estimates: list[Estimate]
    utilization: float

    @property
    def parallel(self) -> dict:
        return self.config.parallel.to_dict()

    @property
    def days(self) -> float:
        """Of all programs."""
        return sum(estimate.days(self.generation, self.utilization) for estimate in self.estimates)


def as_text(plan: Plan) -> str:
    """What is planned, a table with a column for each program, the traffic, the days, and the paper's."""
    generation, counts = plan.generation, plan.counts
    parallel = ", ".join(f"{key}={value}" for key, value in plan.parallel.items())
    selected = f" ({counts.selected} selected)" if plan.config.selection_from else ""
    lines = [
        f"{plan.name} {plan.config.variant}{_taught_by(plan.teacher)} on {plan.topology}: "
        f"{plan.estimates[0].devices} devices of {generation.name}, each {generation.flops / 1e12:g} TFLOP/s, "
        f"{generation.hbm_bytes / GIB:.2f} GiB".strip(),
        f"config.parallel: {parallel}",
        f"{counts.labeled} labeled, {counts.unlabeled} unlabeled{selected}, {counts.test} test images, "
        f"{counts.classes} classes",
        "",
        table(plan.estimates, generation, plan.utilization),
        "",
    ]
    for estimate in plan.estimates:
        for part in estimate.traffic:
            lines.append(
                f"{estimate.stage}: {part.times} x {part.kind} among {part.group_size} devices, "
                f"{part.sent_bytes / 1e6:.2f} MB sent by each device"
            )
    lines.append(
        f"\n{plan.days:.2f} days in all: {plan.utilization:.0%} of the peak FLOP/s, recomputation counted, or slower "
        "where memory or network are"
    )
    return "\n".join([*lines, beside_the_paper(plan)])


def _taught_by(teacher: Teacher | None) -> str:
    if teacher is None:
        return ""
    resolution = f" at {teacher.resolution} px" if teacher.resolution else ""
    return f", taught by {teacher.architecture.name}{resolution}"


def beside_the_paper(plan: Plan) -> str:
    """The paper's days; for the paper's own training the utilization at which that takes as long."""
    line = (
        f"The paper: {PAPER['days']:g} days for {PAPER['variant']} at {PAPER['unlabeled_ratio']}:1 on "
        f"{PAPER['devices']} cores of v3"
    )
    training = next((estimate for estimate in plan.estimates if estimate.stage == "train"), None)
    if training is None:
        return line
    planned = {
        "variant": plan.config.variant,
        "unlabeled_ratio": plan.config.unlabeled_ratio,
        "devices": training.devices,
        "days": PAPER["days"],
    }
    if planned == PAPER:
        share = training.runs * training.roofline(plan.generation)["compute"] / 86400 / PAPER["days"]
        line += f"; training would take as long at {share:.0%}"
    return line


def table(estimates: list[Estimate], generation: Generation, utilization: float) -> str:
    """A column for each program."""
    kinds = list(dict.fromkeys(kind for estimate in estimates for kind in estimate.memory))
    columns = [column(estimate, kinds, generation, utilization) for estimate in estimates]
    header = ["of one device", *(estimate.stage for estimate in estimates)]
    return markdown_table(header, [[key, *(cells[key] for cells in columns)] for key in columns[0]])


def column(estimate: Estimate, kinds: list[str], generation: Generation, utilization: float) -> dict[str, str]:
    """{what: its cell} of one program; `kinds` of memory have a line each."""
    bounds, flops = estimate.roofline(generation), sum(estimate.flops.values())
    sent = sum(part.sent_bytes for part in estimate.traffic)
    known: Callable[[str], str] = lambda text: text if estimate.fits else NOTHING
    cells = {
        "images a run, of one device": f"{estimate.images}, {estimate.images / estimate.devices:g}",
        "resolution, pixels": str(estimate.resolution or NOTHING),
    }
    for kind in kinds:
        cells[f"{kind}, GiB"] = _gib(estimate.memory[kind]) if kind in estimate.memory else NOTHING
    at_least = "" if estimate.fits else "at least "
    return cells | {
        f"memory of {_gib(generation.hbm_bytes)} GiB": at_least + _gib(estimate.memory_total),
        "code beside it, GiB": known(_gib(estimate.code_bytes or 0)),
        "fits": "yes" if estimate.fits else "NO",
        "TFLOP a run, all devices": f"{flops / 1e12:.4g}",
        "of these depthwise": f"{estimate.flops['depthwise'] / flops:.1%}" if flops else NOTHING,
        "memory traffic, GB": known(f"{(estimate.hbm_bytes or 0) / 1e9:.4g}"),
        "sent, MB": known(f"{sent / 1e6:.4g}"),
        "at least ms: compute": f"{1e3 * bounds['compute']:.3g}",
        "at least ms: memory": known(f"{1e3 * bounds['memory']:.3g}"),
        "at least ms: network": known(f"{1e3 * bounds['network']:.3g}"),
        "runs": str(estimate.runs),
        f"days at {utilization:.0%}": f"{estimate.days(generation, utilization):.2f}",
        "compiled here in s": f"{estimate.compile_seconds:.0f}",
    }


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}"


def as_json(plan: Plan) -> dict:
    """The plan as a dictionary that JSON can hold."""
    programs = []
    for estimate in plan.estimates:
        times = {
            "roofline_seconds": estimate.roofline(plan.generation),
            "days": estimate.days(plan.generation, plan.utilization),
        }
        programs.append(dataclasses.asdict(estimate) | times)
    return {
        "iteration": plan.name,
        "topology": plan.topology,
        "hbm_limit_bytes": plan.generation.hbm_bytes,
        "parallel": plan.parallel,
        "utilization": plan.utilization,
        "programs": programs,
        "paper": PAPER,
    }


def problems(plan: Plan, searched: bool) -> list[str]:
    """A line about each program that does not fit. `searched`: whether `config.parallel` is already what fits best."""
    return [
        f"{plan.name} {estimate.stage}".strip() + advice(estimate, plan.generation, searched)
        for estimate in plan.estimates
        if not estimate.fits
    ]


def advice(estimate: Estimate, generation: Generation, searched: bool) -> str:
    """What to do about a program that does not fit."""
    sizes = f"{estimate.memory_total / GIB:.1f} of {generation.hbm_bytes / GIB:.2f} GiB"
    larger = would_fit(estimate, generation)
    slice_that_fits = f"{larger} may do." if larger else "no slice has enough as it is."
    search = ""
    if estimate.stage == "train" and not searched:
        search = " --search looks for a config.parallel with which it does"
    return f" ({sizes}; {slice_that_fits}{search})"
