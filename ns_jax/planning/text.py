"""A plan as text and as JSON."""

import dataclasses

from ns_jax.planning.estimate import Estimate, would_fit
from ns_jax.planning.hardware import Generation
from ns_jax.planning.programs import Counts, Teacher
from ns_jax.report.results import markdown_table

GIB = 2**30
# Section 3.1: "six days" on a Cloud TPU v3 Pod of 2048 cores, unlabeled batch 14 times the labeled one.
PAPER = {"variant": "efficientnet-l2", "unlabeled_ratio": 14, "devices": 2048, "days": 6.0}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of one iteration.

    Attributes:
      name: of the iteration, '' without a chain.
      config: of the iteration.
      estimates: of its programs.
      topology: as given on the command line.
      generation: of the TPUs.
      utilization: share of the peak FLOP/s that is reached.
      counts: of the data.
      teacher: of the student, or None.
    """

    name: str
    config: object
    estimates: list[Estimate]
    topology: str
    generation: Generation
    utilization: float
    counts: Counts
    teacher: Teacher | None


def in_gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def column(estimate: Estimate, plan: Plan, kinds: list[str]) -> dict[str, str]:
    """{what: cell} of one program."""
    bounds, total_flops = estimate.roofline(plan.generation), sum(estimate.flops.values())
    sent = sum(traffic.sent_bytes for traffic in estimate.traffic)
    memory = in_gib(estimate.memory_total)
    measured = lambda text: text if estimate.fits else "-"
    cells = {
        "images a run, of one device": f"{estimate.images}, {estimate.images / estimate.devices:g}",
        "resolution, pixels": "-" if estimate.resolution is None else str(estimate.resolution),
    }
    for kind in kinds:
        cells[f"{kind}, GiB"] = in_gib(estimate.memory[kind]) if kind in estimate.memory else "-"
    return cells | {
        f"memory of {in_gib(plan.generation.hbm_bytes)} GiB": memory if estimate.fits else f"at least {memory}",
        "code beside it, GiB": measured(in_gib(estimate.code_bytes or 0)),
        "fits": "yes" if estimate.fits else "NO",
        "TFLOP a run, all devices": f"{total_flops / 1e12:.4g}",
        "of these depthwise": f"{estimate.flops['depthwise'] / max(total_flops, 1):.1%}",
        "memory traffic, GB": measured(f"{(estimate.hbm_bytes or 0) / 1e9:.4g}"),
        "sent, MB": measured(f"{sent / 1e6:.4g}"),
        "at least ms: compute": f"{1e3 * bounds['compute']:.3g}",
        "at least ms: memory": measured(f"{1e3 * bounds['memory']:.3g}"),
        "at least ms: network": measured(f"{1e3 * bounds['network']:.3g}"),
        "runs": str(estimate.runs),
        f"days at {plan.utilization:.0%}": f"{estimate.days(plan.generation, plan.utilization):.2f}",
        "compiled here in s": f"{estimate.compile_seconds:.0f}",
    }


def table(plan: Plan) -> str:
    """A column for each program."""
    kinds = list(dict.fromkeys(kind for estimate in plan.estimates for kind in estimate.memory))
    columns = [column(estimate, plan, kinds) for estimate in plan.estimates]
    lines = [[what, *(cells[what] for cells in columns)] for what in columns[0]]
    return markdown_table(["of one device", *(estimate.stage for estimate in plan.estimates)], lines)


def as_text(plan: Plan) -> str:
    """The plan as a table, with its collectives and its days."""
    config, generation, counts = plan.config, plan.generation, plan.counts
    taught = ""
    if config.data.unlabeled and plan.teacher is not None:
        taught = f", taught by {plan.teacher.architecture.name} at {plan.teacher.resolution} px"
    levers = ", ".join(f"{key}={value}" for key, value in config.parallel.items())
    head = (
        f"{plan.name} {config.variant}{taught} on {plan.topology}: {plan.estimates[0].devices} devices of "
        f"{generation.name}, each {generation.flops / 1e12:g} TFLOP/s, {in_gib(generation.hbm_bytes)} GiB"
    )
    lines = [
        head.strip(),
        f"config.parallel: {levers}",
        f"{counts.labeled} labeled, {counts.unlabeled} unlabeled, {counts.test} test images, {counts.classes} classes",
        "",
        table(plan),
        "",
    ]
    for estimate in plan.estimates:
        for traffic in estimate.traffic:
            lines.append(
                f"{estimate.stage}: {traffic.times} x {traffic.kind} among {traffic.group_size} devices, "
                f"{traffic.sent_bytes / 1e6:.2f} MB sent by each device"
            )
    days = sum(estimate.days(generation, plan.utilization) for estimate in plan.estimates)
    lines.append(
        f"\n{days:.2f} days in all: {plan.utilization:.0%} of the peak FLOP/s, recomputation counted, or slower "
        "where memory or network are"
    )
    return "\n".join([*lines, beside_the_paper(plan)])


def beside_the_paper(plan: Plan) -> str:
    """The paper's days, and which share of the peak they are where the plan is of the same run."""
    text = (
        f"The paper: {PAPER['days']:g} days for {PAPER['variant']} at {PAPER['unlabeled_ratio']}:1 on "
        f"{PAPER['devices']} cores of v3"
    )
    for estimate in plan.estimates:
        run = {
            "variant": plan.config.variant,
            "unlabeled_ratio": plan.config.unlabeled_ratio,
            "devices": estimate.devices,
            "days": PAPER["days"],
        }
        if estimate.stage == "train" and run == PAPER:
            share = estimate.runs * estimate.roofline(plan.generation)["compute"] / 86400 / PAPER["days"]
            text += f"; training would take as long at {share:.0%}"
    return text


def as_json(plan: Plan) -> dict:
    """The plan as what JSON can hold."""
    programs = []
    for estimate in plan.estimates:
        days = estimate.days(plan.generation, plan.utilization)
        bounds = estimate.roofline(plan.generation)
        programs.append(dataclasses.asdict(estimate) | {"roofline_seconds": bounds, "days": days})
    return {
        "iteration": plan.name,
        "topology": plan.topology,
        "hbm_limit_bytes": plan.generation.hbm_bytes,
        "parallel": plan.config.parallel.to_dict(),
        "utilization": plan.utilization,
        "programs": programs,
        "paper": PAPER,
    }


def advice(estimate: Estimate, generation: Generation, searched: bool) -> str:
    """What to do about a program that does not fit; `searched`: --search has tried config.parallel already."""
    larger = would_fit(estimate, generation)
    levers = ""
    if estimate.stage == "train" and not searched:
        levers = " --search looks for a config.parallel with which it does"
    room = f"{larger} may do." if larger else "no slice has enough as it is."
    return f" ({estimate.memory_total / GIB:.1f} of {in_gib(generation.hbm_bytes)} GiB; {room}{levers})"
