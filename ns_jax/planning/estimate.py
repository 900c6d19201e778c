"""Compiles a program for devices that are not there, and what that says of it."""

import dataclasses
import re
import time
from collections.abc import Callable

from jax.errors import JaxRuntimeError
from jax.stages import Compiled

from ns_jax.planning.collectives import find_collectives, find_slice_transfers, hbm_bytes, network_bytes
from ns_jax.planning.flops import count_flops
from ns_jax.planning.hardware import GENERATIONS, Generation, parse_topology, slices
from ns_jax.planning.moments import device_bytes, moments_of
from ns_jax.planning.programs import Program

# Seconds that a collective takes at least, and may take, however little it sends (assumed; on pods, with their number).
LEAST_LATENCY, MUCH_LATENCY = 40e-6, 100e-6
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Traffic:
    """All collectives of one kind among groups of one size, in one run of a program."""

    kind: str
    group_size: int
    times: int
    sent_bytes: int  # by each device, at least (`network_bytes`)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What one run of a program needs, per device unless said.

    Attributes:
      stage: that runs it.
      images: that one run takes, over all devices.
      resolution: of these images, pixels; None for arrays.
      runs: how often the stage runs it.
      devices: how many there are.
      fits: whether the compiler found room.
      memory: kind -> bytes. 'temporaries' are what is left of the total: activations, copies, padding.
      memory_total: bytes at the peak; where it does not fit, at least so many.
      code_bytes: of the program itself, for which the compiler leaves room beside; None where it does not fit.
      flops: kind -> FLOPs over all devices, recomputation counted (`count_flops`).
      hbm_bytes: read and written, tiles filled up; None where it does not fit.
      padding_bytes: of these, what fills tiles up.
      traffic: what devices of a slice send each other; empty where it does not fit.
      slice_bytes: that one device sends to other slices.
      slice_transfers: in how many parts.
      moments: what one device holds beside the steps (`moments_of`).
      compile_seconds: that compilation took here.
    """

    stage: str
    images: int
    resolution: int | None
    runs: int
    devices: int
    fits: bool
    memory: dict[str, int]
    memory_total: int
    code_bytes: int | None
    flops: dict[str, int]
    hbm_bytes: int | None
    padding_bytes: int | None
    traffic: tuple[Traffic, ...]
    slice_bytes: int
    slice_transfers: int
    moments: dict[str, int]
    compile_seconds: float

    @property
    def num_collectives(self) -> int:
        """How many one run waits for, those between slices counted."""
        return sum(part.times for part in self.traffic) + self.slice_transfers

    def peak_seconds(self, generation: Generation) -> float:
        """Seconds of one run's arithmetic at the peak FLOP/s, which utilization is a share of."""
        return sum(self.flops.values()) / self.devices / generation.flops

    def roofline(self, generation: Generation) -> dict[str, float]:
        """Seconds that one run takes at least for its arithmetic, for its memory, for its network and between slices.

        Depthwise convolutions are charged to the vector unit: a matrix unit has nothing to add up over channels there.
        """
        depthwise = self.flops["depthwise"]
        products = sum(self.flops.values()) - depthwise
        sent = sum(part.sent_bytes for part in self.traffic) / generation.interconnect_bandwidth
        bounds = {
            "compute": (products / generation.flops + depthwise / generation.vector_flops) / self.devices,
            "memory": (self.hbm_bytes or 0) / generation.hbm_bandwidth,
            "network": sent + LEAST_LATENCY * self.num_collectives,
        }
        if self.slice_transfers and generation.slice_bandwidth:
            bounds["between slices"] = self.slice_bytes / generation.slice_bandwidth
        return bounds

    def step_seconds(self, generation: Generation, utilization: float) -> float:
        """Of one run, at a share of the peak FLOP/s, or as the roofline allows where that is slower."""
        return max(self.peak_seconds(generation) / utilization, *self.roofline(generation).values())

    def days(self, generation: Generation, utilization: float) -> float:
        """Of all runs."""
        return self.runs * self.step_seconds(generation, utilization) / 86400


def argument_bytes(program: Program, devices: int) -> dict[str, int]:
    """Kind -> bytes on one device; the batch is split over all devices."""
    return {kind: device_bytes(tree) // (devices if kind == "batch" else 1) for kind, tree in program.memory.items()}


def would_fit(estimate: Estimate, generation: Generation) -> str | None:
    """The smallest slice on which a program that did not fit may: of its own generation, else of another, or None.

    What is split by batch shrinks with the number of devices, what is not stays, and each has one image at least.
    """
    stays = sum(size for kind, size in estimate.memory.items() if kind != "batch")
    shrinks = estimate.memory_total - stays
    others = [other for other in GENERATIONS.values() if other != generation]
    for candidate in (generation, *others):
        for topology in slices(candidate):
            devices = parse_topology(topology).devices
            needed = stays + shrinks * estimate.devices / devices
            if estimate.images % devices == 0 and needed <= candidate.hbm_bytes:
                return topology
    return None


def estimate(program: Program, devices: int, keep: Callable[[Compiled], None] = lambda compiled: None) -> Estimate:
    """Compiles a program, and gives it to `keep`. Raises JaxRuntimeError if that fails for anything but memory."""
    traced = program.function.trace(*program.arguments)
    memory, flops = argument_bytes(program, devices), count_flops(traced.jaxpr)
    common = {
        "stage": program.stage,
        "images": program.images,
        "resolution": program.resolution,
        "runs": program.runs,
        "devices": devices,
        "flops": flops,
        "moments": moments_of(program),
    }
    began = time.monotonic()
    try:
        compiled = traced.lower().compile()
    except JaxRuntimeError as error:
        used = used_bytes(str(error))
        if used is None:
            raise
        return Estimate(
            **common,
            fits=False,
            memory=memory,
            memory_total=max(used, sum(memory.values())),
            code_bytes=None,
            hbm_bytes=None,
            padding_bytes=None,
            traffic=(),
            slice_bytes=0,
            slice_transfers=0,
            compile_seconds=time.monotonic() - began,
        )
    seconds, stats, text = time.monotonic() - began, compiled.memory_analysis(), compiled.as_text()
    keep(compiled)
    total, moved, transfers = stats.peak_memory_in_bytes, hbm_bytes(text), find_slice_transfers(text)
    return Estimate(
        **common,
        fits=True,
        memory=memory | {"temporaries": total - sum(memory.values())},
        memory_total=total,
        code_bytes=stats.generated_code_size_in_bytes,
        hbm_bytes=moved,
        padding_bytes=moved - hbm_bytes(text, padded=False),
        traffic=_traffic(text),
        slice_bytes=sum(transfer.bytes * transfer.times for transfer in transfers),
        slice_transfers=sum(transfer.times for transfer in transfers),
        compile_seconds=seconds,
    )


def used_bytes(message: str) -> int | None:
    """What a program that the compiler refused for its memory needs at least; None if that was not why."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    match = re.search(r"([\d.]+)([KMGT]?)\)? (?:of|exceeds)", message)
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0


def _traffic(text: str) -> tuple[Traffic, ...]:
    """Adds up the collectives of one kind and group size."""
    groups: dict[tuple[str, int], tuple[int, float]] = {}
    for collective in find_collectives(text):
        key = (collective.kind, collective.group_size)
        times, sent = groups.get(key, (0, 0.0))
        groups[key] = times + collective.times, sent + collective.times * network_bytes(collective)
    return tuple(Traffic(*key, times, round(sent)) for key, (times, sent) in sorted(groups.items()))
