"""A plan as text for people and as JSON."""

import dataclasses
from collections.abc import Callable, Iterable

from ml_collections import ConfigDict

from ns_jax.planning.estimate import LEAST_LATENCY, MUCH_LATENCY, Estimate, would_fit
from ns_jax.planning.hardware import GIB, Generation, Topology
from ns_jax.planning.input import InputPlan, host_memory, label_store_bytes, plan_input, shortages
from ns_jax.planning.programs import Counts, Teacher
from ns_jax.report.results import markdown_table

# Section 3.1: "six days" on a Cloud TPU v3 Pod of 2048 cores, unlabeled batch 14 times the labeled one.
PAPER = {"variant": "efficientnet-l2", "unlabeled_ratio": 14, "devices": 2048, "days": 6.0}
RANGE = (0.1, 0.2)  # of utilization; where the default and these come from: docs/pods.md
NOTHING = "-"


@dataclasses.dataclass(frozen=True)
class Plan:
    """One iteration on slices of TPUs.

    Attributes:
      name: of the iteration; '' without a chain.
      config: of the iteration, with the `parallel` that was planned.
      topology: of the slices.
      counts: of the data.
      teacher: None for supervised training.
      estimates: of the programs, in the order of the stages.
      utilization: share of the peak FLOP/s that is reached.
      image_bytes: of an encoded image, on average.
      price: of a chip and hour, in any currency; None where it was not said.
      mesh_note: what is not as good as it could be about the order of devices; '' where nothing is.
    """

    name: str
    config: ConfigDict
    topology: Topology
    counts: Counts
    teacher: Teacher | None
    estimates: list[Estimate]
    utilization: float
    image_bytes: int = 110_000
    price: float | None = None
    mesh_note: str = ""

    @property
    def generation(self) -> Generation:
        return self.topology.generation

    @property
    def parallel(self) -> dict:
        return self.config.parallel.to_dict()

    def days(self, utilization: float) -> float:
        """Of all programs."""
        return sum(estimate.days(self.generation, utilization) for estimate in self.estimates)

    def days_with_input(self) -> float:
        """Of all programs at the planned utilization, or as slow as their input."""
        slower = {part.stage: max(1.0, part.needed / part.gives) for part in self.inputs()}
        return sum(
            slower.get(estimate.stage, 1.0) * estimate.days(self.generation, self.utilization)
            for estimate in self.estimates
        )

    def cost(self, utilization: float) -> float | None:
        """Of all programs, in the currency of the price."""
        return None if self.price is None else 24 * self.days(utilization) * self.topology.chips * self.price

    def inputs(self) -> list[InputPlan]:
        """The data side of the programs that take images."""
        parts = [
            plan_input(estimate, self.config, self.topology, self.utilization, self.image_bytes)
            for estimate in self.estimates
        ]
        return [part for part in parts if part is not None]

    def host_memory(self) -> dict[str, int]:
        return host_memory(self.estimates, self.config, self.topology, self.counts, self.image_bytes)

    def shortages(self) -> list[str]:
        """A line about everything of the data side that is short."""
        return shortages(self.inputs(), self.host_memory(), self.config, self.topology, self.counts)


def as_text(plan: Plan) -> str:
    """What is planned, a table with a column for each program, the traffic, the data side, the days, the paper's."""
    generation, counts, topology = plan.generation, plan.counts, plan.topology
    parallel = ", ".join(f"{key}={value}" for key, value in plan.parallel.items())
    selected = f" ({counts.selected} selected)" if plan.config.selection_from else ""
    lines = [
        f"{plan.name} {plan.config.variant}{_taught_by(plan.teacher)} on {topology.name}: "
        f"{topology.devices} devices of {generation.name}, each {generation.flops / 1e12:g} TFLOP/s, "
        f"{generation.hbm_bytes / GIB:.2f} GiB".strip(),
        f"to ask for: {topology.accelerator_type}; {topology.hosts} hosts, {generation.host.machine_type} on GKE",
        f"config.parallel: {parallel}",
        f"{counts.labeled} labeled, {counts.unlabeled} unlabeled{selected}, {counts.test} test images, "
        f"{counts.classes} classes",
        "",
        table(plan.estimates, generation, plan.utilization),
        "",
    ]
    if plan.mesh_note:
        lines.append(f"mesh: {plan.mesh_note}")
    for estimate in plan.estimates:
        lines += traffic_lines(estimate, generation)
    lines += ["", *data_lines(plan), "", *days_lines(plan), beside_the_paper(plan)]
    return "\n".join(lines)


def traffic_lines(estimate: Estimate, generation: Generation) -> list[str]:
    """What devices send each other in a run of a program, and how long that takes however little it is."""
    lines = [
        f"{estimate.stage}: {part.times} x {part.kind} among {part.group_size} devices, "
        f"{part.sent_bytes / 1e6:.2f} MB sent by each device"
        for part in estimate.traffic
    ]
    if estimate.slice_transfers:
        unknown = "" if generation.slice_bandwidth else f"; how fast, no page of {generation.name} says: not counted"
        lines.append(
            f"{estimate.stage}: {estimate.slice_transfers} x to other slices, {estimate.slice_bytes / 1e6:.2f} MB sent "
            f"by each device{unknown}"
        )
    if number := estimate.num_collectives:
        least, most = 1e3 * number * LEAST_LATENCY, 1e3 * number * MUCH_LATENCY
        lines.append(f"{estimate.stage}: {number} collectives, at 40 to 100 us each {least:.0f} to {most:.0f} ms")
    return lines


def data_lines(plan: Plan) -> list[str]:
    """A table of what the input takes and gives, the memory of a host, and what is short."""
    inputs, memory, host = plan.inputs(), plan.host_memory(), plan.generation.host
    header = ["of one host", *(part.stage for part in inputs)]
    rows = {
        f"images/s needed at {plan.utilization:.0%}": [f"{part.needed:,.0f}" for part in inputs],
        "images/s needed at the roofline": [f"{part.needed_at_most:,.0f}" for part in inputs],
        "images/s that input gives (assumed)": [f"{part.gives:,.0f}" for part in inputs],
        "MB/s": [f"{part.megabytes:,.1f}" for part in inputs],
        "all hosts: images/s": [f"{part.needed * plan.topology.hosts:,.0f}" for part in inputs],
        "all hosts: GB/s": [f"{part.megabytes * plan.topology.hosts / 1e3:,.2f}" for part in inputs],
        "all hosts: reads/s": [f"{part.requests:,.0f}" for part in inputs],
    }
    lines = [markdown_table(header, [[name, *cells] for name, cells in rows.items()]), ""] if inputs else []
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in memory.items())
    lines.append(
        f"host memory, GB: at most {sum(memory.values()) / 1e9:.2f} of {host.memory / 1e9:.0f} ({parts}; Python and "
        "TensorFlow beside it)"
    )
    if stored := label_store_bytes(plan.config, plan.counts):
        lines.append(
            f"pseudo-labels: {stored / 1e9:,.0f} GB in files, mapped; with a workdir in a bucket all of it in the "
            "memory of every host"
        )
    return [*lines, *(f"SHORT: {line}" for line in plan.shortages())]


def days_lines(plan: Plan) -> list[str]:
    """The days, their range, and the price."""
    low, high = RANGE
    lines = [
        f"{plan.days(plan.utilization):.2f} days in all: {plan.utilization:.0%} of the peak FLOP/s, recomputation "
        f"counted, or slower where a bound above is; {plan.days(high):.2f} at {high:.0%}, {plan.days(low):.2f} at "
        f"{low:.0%}"
    ]
    if (waiting := plan.days_with_input()) > plan.days(plan.utilization):
        lines.append(f"{waiting:.2f} days at {plan.utilization:.0%} with what the input is assumed to give")
    if plan.price is not None:
        lines.append(
            f"price: about {plan.cost(plan.utilization):,.0f} for {plan.topology.chips} chips at {plan.price:g} a chip "
            f"and hour; {plan.cost(high):,.0f} at {high:.0%}, {plan.cost(low):,.0f} at {low:.0%}"
        )
    return lines


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
        share = training.runs * training.peak_seconds(plan.generation) / 86400 / PAPER["days"]
        line += f"; training would take as long at {share:.0%}"
    return line


def table(estimates: list[Estimate], generation: Generation, utilization: float) -> str:
    """A column for each program."""
    kinds = _names_of(estimate.memory for estimate in estimates)
    moments = _names_of(estimate.moments for estimate in estimates)
    bounds = _names_of(estimate.roofline(generation) for estimate in estimates)
    columns = [column(estimate, kinds, moments, bounds, generation, utilization) for estimate in estimates]
    header = ["of one device", *(estimate.stage for estimate in estimates)]
    return markdown_table(header, [[key, *(cells[key] for cells in columns)] for key in columns[0]])


def _names_of(parts: Iterable[dict]) -> list[str]:
    """The keys of all, in the order in which they come first."""
    return list(dict.fromkeys(name for part in parts for name in part))


def column(
    estimate: Estimate,
    kinds: list[str],
    moments: list[str],
    bound_names: list[str],
    generation: Generation,
    utilization: float,
) -> dict[str, str]:
    """{what: its cell} of one program; `kinds` of memory, `moments` and bounds have a line each."""
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
    cells[f"memory of {_gib(generation.hbm_bytes)} GiB"] = at_least + _gib(estimate.memory_total)
    for moment in moments:
        held = estimate.moments.get(moment)
        cells[f"{moment}, GiB"] = NOTHING if held is None else _gib(held)
    padding = (estimate.padding_bytes or 0) / (estimate.hbm_bytes or 1)
    return cells | {
        "code beside it, GiB": known(_gib(estimate.code_bytes or 0)),
        "fits": "yes" if fits(estimate, generation) else "NO",
        "TFLOP a run, all devices": f"{flops / 1e12:.4g}",
        "of these depthwise": f"{estimate.flops['depthwise'] / flops:.1%}" if flops else NOTHING,
        "memory traffic, GB": known(f"{(estimate.hbm_bytes or 0) / 1e9:.4g}"),
        "of it padding of tiles": known(f"{padding:.0%}"),
        "sent, MB": known(f"{sent / 1e6:.4g}"),
        **{f"at least ms: {bound}": _milliseconds(estimate, bounds, bound) for bound in bound_names},
        "runs": str(estimate.runs),
        f"days at {utilization:.0%}": f"{estimate.days(generation, utilization):.2f}",
        "compiled here in s": f"{estimate.compile_seconds:.0f}",
    }


def _milliseconds(estimate: Estimate, bounds: dict[str, float], bound: str) -> str:
    """Only the arithmetic of a program that does not fit is known."""
    is_known = bound in bounds and (estimate.fits or bound == "compute")
    return f"{1e3 * bounds[bound]:.3g}" if is_known else NOTHING


def fits(estimate: Estimate, generation: Generation) -> bool:
    """Whether a program fits, and what a device holds beside its steps."""
    return estimate.fits and max(estimate.moments.values(), default=0) <= generation.hbm_bytes


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}"


def as_json(plan: Plan) -> dict:
    """The plan as a dictionary that JSON can hold."""
    programs = []
    for estimate in plan.estimates:
        times = {
            "roofline_seconds": estimate.roofline(plan.generation),
            "days": estimate.days(plan.generation, plan.utilization),
            "collectives": estimate.num_collectives,
        }
        programs.append(dataclasses.asdict(estimate) | times)
    shares = (plan.utilization, *RANGE)
    return {
        "iteration": plan.name,
        "topology": plan.topology.name,
        "accelerator_type": plan.topology.accelerator_type,
        "hosts": plan.topology.hosts,
        "hbm_limit_bytes": plan.generation.hbm_bytes,
        "parallel": plan.parallel,
        "mesh": plan.mesh_note,
        "utilization": plan.utilization,
        "days": {f"{share:g}": plan.days(share) for share in shares},
        "days_with_input": plan.days_with_input(),
        "price": None if plan.price is None else {f"{share:g}": plan.cost(share) for share in shares},
        "programs": programs,
        "input": [dataclasses.asdict(part) for part in plan.inputs()],
        "host_memory": plan.host_memory(),
        "host_memory_limit": plan.generation.host.memory,
        "short": plan.shortages(),
        "paper": PAPER,
    }


def problems(plan: Plan, searched: bool) -> list[str]:
    """A line about each program that does not fit. `searched`: whether `config.parallel` is already what fits best."""
    return [
        f"{plan.name} {estimate.stage}".strip() + advice(estimate, plan.generation, searched)
        for estimate in plan.estimates
        if not fits(estimate, plan.generation)
    ]


def advice(estimate: Estimate, generation: Generation, searched: bool) -> str:
    """What to do about a program that does not fit."""
    limit = f"{generation.hbm_bytes / GIB:.2f} GiB"
    if estimate.fits:
        moment, size = max(estimate.moments.items(), key=lambda item: item[1])
        return f" ({size / GIB:.1f} of {limit} at the moment {moment!r}; split the state: config.parallel.shard_state)"
    sizes = f"{estimate.memory_total / GIB:.1f} of {limit}"
    larger = would_fit(estimate, generation)
    slice_that_fits = f"{larger} may do." if larger else "no slice has enough as it is."
    search = ""
    if estimate.stage == "train" and not searched:
        search = " --search looks for a config.parallel with which it does"
    return f" ({sizes}; {slice_that_fits}{search})"
