"""TPU slices as Google's services name them: accelerator types of the Cloud TPU API, labels and topologies of GKE."""

import dataclasses
import itertools
import math
import re

from launch.errors import LaunchError

FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CHIPS_PER_VM = 4  # of every slice but 1x1


def _cubic(most_chips: int, longest: int) -> tuple[str, ...]:
    """The topologies of a three-dimensional generation: parts of a cube of 4x4x4, and sizes that are multiples of 4."""
    cubes = itertools.combinations_with_replacement(range(4, longest + 1, 4), 3)
    larger = sorted((sizes for sizes in cubes if math.prod(sizes) <= most_chips), key=math.prod)
    shapes = [(2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), *larger]
    return tuple("x".join(map(str, sizes)) for sizes in shapes)


@dataclasses.dataclass(frozen=True)
class Generation:
    """One TPU generation.

    Attributes:
      name: as in `ns_jax.plan`.
      type_prefix: of its accelerator types.
      counted_per_chip: what the number in an accelerator type counts: 2 for cores, 1 for chips.
      gke_label: of its nodes, cloud.google.com/gke-tpu-accelerator.
      topologies: in chips.
    """

    name: str
    type_prefix: str
    counted_per_chip: int
    gke_label: str
    topologies: tuple[str, ...]


# https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus, and the pages of each generation in
# https://cloud.google.com/tpu/docs. TPU7x is on GKE alone, and was not planned for here.
GENERATIONS = {
    generation.name: generation
    for generation in (
        Generation("v3", "v3", 2, "tpu-v3-slice",
                   ("2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32")),
        Generation("v4", "v4", 2, "tpu-v4-podslice", _cubic(4096, 16)),
        Generation("v5e", "v5litepod", 1, "tpu-v5-lite-podslice", FLAT),
        Generation("v5p", "v5p", 2, "tpu-v5p-slice", _cubic(6144, 28)),
        Generation("v6e", "v6e", 1, "tpu-v6e-slice", FLAT),
    )
}  # fmt: skip


def find_generation(name: str) -> Generation:
    """A generation such as 'v5e'. Raises LaunchError."""
    if name not in GENERATIONS:
        raise LaunchError(f"there is no TPU generation {name!r}; known are {', '.join(GENERATIONS)}")
    return GENERATIONS[name]


def num_chips(topology: str) -> int:
    return math.prod(map(int, topology.split("x")))


def check_topology(generation: Generation, topology: str) -> None:
    """Raises LaunchError where a generation has no slice of that topology; names the nearest ones."""
    if topology in generation.topologies:
        return
    shown = generation.topologies[:4]
    if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", topology):
        wanted = num_chips(topology)
        by_distance = sorted(generation.topologies, key=lambda there: abs(math.log(num_chips(there) / wanted)))
        shown = sorted(by_distance[:4], key=num_chips)
    raise LaunchError(f"topology {topology!r}: {generation.name} has no such slice; near are {', '.join(shown)}")


def check_accelerator_type(accelerator_type: str) -> None:
    """Raises LaunchError where a known generation has no slice of that size, such as v4-31."""
    for generation in GENERATIONS.values():
        prefix, number = f"{generation.type_prefix}-", accelerator_type.rpartition("-")[2]
        if accelerator_type != prefix + number:
            continue
        sizes = sorted({num_chips(topology) * generation.counted_per_chip for topology in generation.topologies})
        if not number.isdecimal() or int(number) not in sizes:
            wanted = int(number) if number.isdecimal() else 0
            near = sorted(sorted(sizes, key=lambda size: abs(size - wanted))[:4])
            raise LaunchError(
                f"accelerator_type {accelerator_type!r}: {generation.name} has no such slice; near are "
                + ", ".join(f"{prefix}{size}" for size in near)
            )
