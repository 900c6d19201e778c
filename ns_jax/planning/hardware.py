"""TPU generations: what one JAX device of each can do, and the names of their topologies."""

import dataclasses
import importlib.util
import math
import os
import re

from jax.errors import JaxRuntimeError
from jax.experimental import topologies

from ns_jax.errors import UserError

GIB = 2**30
MAX_SLICES = 64


@dataclasses.dataclass(frozen=True)
class Host:
    """The machine to which 2x2 chips are attached: GKE's machine type for slices.

    https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
    """

    machine_type: str
    vcpus: int  # threads; two make a core
    memory: int  # bytes


@dataclasses.dataclass(frozen=True)
class Generation:
    """One TPU generation. All figures but the pod's are of one JAX device (`devices_per_chip` share a chip).

    `interconnect_bandwidth` is what a device can send at once over all its links, in one direction:
    half of what Google's pages call bidirectional bandwidth. A ring along one of the torus's
    dimensions has a `dimensions`-th of it, and half of that where the ring does not close
    (a slice smaller than the pod). `hbm_bytes` is what a program can have: the compiler (libtpu 0.0.42)
    refuses more, and keeps the rest of the capacity for itself. `vector_flops` are additions and multiplications
    of the vector unit, which has no multiply-add: 8 x 128 lanes times 2 (v3, v4) or 4 operations a cycle, at the clock
    that the matrix units' peak implies (jax-ml.github.io/scaling-book/tpus; not measured).
    """

    name: str
    devices_per_chip: int
    dimensions: int  # of the torus
    pod_chips: int  # of the largest slice
    flops: float  # FLOP/s, bfloat16 factors, float32 sums
    hbm_bytes: int
    hbm_bandwidth: float  # bytes/s
    interconnect_bandwidth: float  # bytes/s
    vector_flops: float  # FLOP/s of the vector unit, float32
    slice_bandwidth: float | None  # bytes/s between slices, through the data centre; None where no page has it
    host: Host
    source: str
    chip_config_name: str | None = None  # that `get_topology_desc` needs to describe what JAX sees


# Pages give figures of a chip. Where a page has no interconnect bandwidth of a chip, it is the pod's
# "all-reduce bandwidth" over its chips: that is the sending bandwidth wherever a page has both
# (v5e: 51.2 TB/s / 256 = 400 GB/s / 2; v6e: 102.4 TB/s / 256 = 800 GB/s / 2).
GENERATIONS = {
    generation.name: generation
    for generation in (
        # "123 teraflops, 32 GiB, 900 GBps, all-reduce bandwidth per Pod 340 TB/s" of 1024 chips. Not
        # confirmed: the interconnect, as jax-ml.github.io/scaling-book/tpus has 4 links of 100 GB/s.
        Generation("v3", 2, 2, 1024, 123e12 / 2, int(15.48 * GIB), 900e9 / 2, 340e12 / 1024 / 2,
                   vector_flops=0.94e9 * 1024 * 2, slice_bandwidth=None, host=Host("ct3p-hightpu-4t", 48, 340 * GIB),
                   source="https://cloud.google.com/tpu/docs/v3"),
        # "275 teraflops, 32 GiB, 1200 GBps, all-reduce bandwidth per Pod 1.1 PB/s" of 4096 chips: 269 GB/s.
        # The scaling book's 6 links of 45 GB/s make 270 GB/s. A device is two cores.
        Generation("v4", 1, 3, 4096, 275e12, int(30.75 * GIB), 1200e9, 1.1e15 / 4096,
                   vector_flops=2 * 1.05e9 * 1024 * 2, slice_bandwidth=None,
                   host=Host("ct4p-hightpu-4t", 240, 407 * GIB), source="https://cloud.google.com/tpu/docs/v4",
                   chip_config_name="megacore"),
        # "197 TFLOPs, 16 GB, 819 GBps (elsewhere 800 GiBps), bidirectional ICI 400 GBps, data center network per Pod
        # 6.4 Tbps" of 256 chips.
        Generation("v5e", 1, 2, 256, 197e12, int(15.75 * GIB), 819e9, 400e9 / 2,
                   vector_flops=1.5e9 * 1024 * 4, slice_bandwidth=6.4e12 / 8 / 256,
                   host=Host("ct5lp-hightpu-4t", 112, 192 * GIB), source="https://cloud.google.com/tpu/docs/v5e"),
        # "459 TFLOPs, 95 GiB, 2765 GBps, bidirectional ICI 1200 GBps, largest job 6144 chips, DCN per chip 50 Gbps".
        # A device is two cores.
        Generation("v5p", 1, 3, 6144, 459e12, int(95.74 * GIB), 2765e9, 1200e9 / 2,
                   vector_flops=2 * 1.75e9 * 1024 * 4, slice_bandwidth=50e9 / 8,
                   host=Host("ct5p-hightpu-4t", 208, 448 * GIB), source="https://cloud.google.com/tpu/docs/v5p"),
        # "918 TFLOPs, 32 GB, 1638 GBps, bidirectional ICI 800 GBps, data center network per Pod 25.6 Tbps", a vector
        # unit of "128 lanes x 8 sublanes". Its clock is no page's: v5p's is taken.
        Generation("v6e", 1, 2, 256, 918e12, int(31.25 * GIB), 1638e9, 800e9 / 2,
                   vector_flops=1.75e9 * 1024 * 4, slice_bandwidth=25.6e12 / 8 / 256,
                   host=Host("ct6e-standard-4t", 180, 720 * GIB), source="https://cloud.google.com/tpu/docs/v6e"),
    )
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Topology:
    """Slices of TPUs that a run takes together.

    Attributes:
      generation: of all of them.
      shape: of a slice, in chips.
      num_slices: how many, each of that shape, which only the data centre's network connects.
    """

    generation: Generation
    shape: tuple[int, ...]
    num_slices: int = 1

    @property
    def name_of_slice(self) -> str:
        """As 'v5e:16x16', which `jax.experimental.topologies` knows."""
        return f"{self.generation.name}:{'x'.join(map(str, self.shape))}"

    @property
    def name(self) -> str:
        """As `parse_topology` reads it."""
        return self.name_of_slice if self.num_slices == 1 else f"{self.num_slices}x{self.name_of_slice}"

    @property
    def chips(self) -> int:
        return math.prod(self.shape) * self.num_slices

    @property
    def devices(self) -> int:
        return self.chips * self.generation.devices_per_chip

    @property
    def hosts(self) -> int:
        """Hosts have 2x2 chips."""
        return self.chips // 4

    @property
    def accelerator_type(self) -> str:
        """What to ask Cloud TPU for: 'v3-2048', in cores up to v4 and v5p, 'v5litepod-256' in chips after it."""
        prefix, number_of_chip = ACCELERATOR_TYPES[self.generation.name]
        kind = f"{prefix}-{math.prod(self.shape) * number_of_chip}"
        return kind if self.num_slices == 1 else f"{self.num_slices} slices of {kind}"


# Prefix, and how many of what the number counts a chip has: cloud.google.com/tpu/docs/supported-tpu-configurations
ACCELERATOR_TYPES = {"v3": ("v3", 2), "v4": ("v4", 2), "v5e": ("v5litepod", 1), "v5p": ("v5p", 2), "v6e": ("v6e", 1)}


def parse_topology(text: str) -> Topology:
    """Reads a slice such as 'v3:32x32' (in chips), or several: '2xv5e:16x16'.

    Raises:
      UserError: the generation is unknown, or has no slice of that shape.
    """
    several, name, shape = re.fullmatch(r"(?:(\d+)x)?([^:]*):?(.*)", text.strip().lower(), re.DOTALL).groups()
    known = ", ".join(GENERATIONS)
    if name not in GENERATIONS:
        raise UserError(
            f"topology {text!r}: no TPU generation {name!r}; known are {known} (as in v3:32x32, v4:4x4x8, 2xv5e:16x16)"
        )
    generation = GENERATIONS[name]
    pattern = "x".join("ABC"[: generation.dimensions])
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape) or shape.count("x") + 1 != generation.dimensions:
        raise UserError(
            f"topology {text!r}: a slice of {name} is given in chips as {name}:{pattern}; known are {known}"
        )
    sizes = tuple(int(size) for size in shape.split("x"))
    if sizes[0] % 2 or sizes[1] % 2:
        raise UserError(f"topology {text!r}: hosts of {name} have 2x2 chips, so the first two sizes must be even")
    chips = math.prod(sizes)
    if chips > generation.pod_chips:
        raise UserError(f"topology {text!r}: {chips} chips, but the largest slice of {name} has {generation.pod_chips}")
    num_slices = int(several or 1)
    if not 1 <= num_slices <= MAX_SLICES:
        raise UserError(f"topology {text!r}: from 1 to {MAX_SLICES} slices, as in 2x{name}:{shape}")
    return Topology(generation, sizes, num_slices)


def parse_price(text: str | None) -> float | None:
    """The price of a chip and hour. Raises UserError for what is no positive number."""
    if text is None:
        return None
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 < price < math.inf:
        raise UserError(f"--price_per_chip_hour={text}: a positive number is needed, as in --price_per_chip_hour=1.2")
    return price


def slices(generation: Generation) -> list[str]:
    """Usual slices of a generation, the smallest first: 'v3:2x2', 'v3:2x4', 'v3:4x4', ..."""
    shape, names = [2] * generation.dimensions, []
    while math.prod(shape) <= generation.pod_chips:
        names.append(f"{generation.name}:{'x'.join(map(str, shape))}")
        smallest = max(i for i in range(generation.dimensions) if shape[i] == min(shape))
        shape[smallest] *= 2
    return names


def describe_topology(text: str) -> topologies.TopologyDescription:
    """The devices of slices such as 'v3:32x32', to compile for. Needs libtpu, but no TPU.

    Loads libtpu so that it holds no lock: call it in processes that use no TPU themselves.

    Raises:
      UserError: as of `parse_topology`; libtpu is not installed, or does not know this slice.
    """
    wanted = parse_topology(text)
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("to compile for TPUs, install libtpu: pip install libtpu")
    # Read when libtpu is loaded: no lock of the machine's TPUs, which compiling does not use (a second process
    # would fail), and no questions to the metadata server of a TPU VM.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    options = {}
    if wanted.generation.chip_config_name:
        options["chip_config_name"] = wanted.generation.chip_config_name
    if wanted.num_slices > 1:
        options["num_slices"] = wanted.num_slices
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=wanted.name_of_slice, **options)
    except JaxRuntimeError as error:
        raise UserError(f"topology {text!r}: the TPU compiler refuses it: {str(error).splitlines()[0]}") from error
    if len(topology.devices) != wanted.devices:
        raise UserError(
            f"topology {text!r}: {wanted.devices} devices expected, the TPU compiler has {len(topology.devices)}"
        )
    return topology
