"""The table of benchmarks.corruption_speed has a line for every corruption and perturbation."""

from benchmarks import corruption_speed
from ns_jax.data.corruptions.sequences import PERTURBATIONS
from ns_jax.data.corruptions.tables import CORRUPTIONS


def test_corruption_speed():
    lines = corruption_speed.measure(16, seconds=0.0).splitlines()[4:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [name for _, name, _ in cells] == [*CORRUPTIONS, *PERTURBATIONS]
    assert all(float(number) > 0 for _, _, number in cells)
