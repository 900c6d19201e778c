import pytest

from benchmarks.placement_memory import measure


@pytest.mark.slow
def test_memory_does_not_grow_with_processes(tmp_path):
    """Half of the model's size more would be a copy of half of it, as of a second host."""
    two, four = ([max(values) for values in zip(*measure(count, 64, str(tmp_path / str(count))))] for count in (2, 4))
    for before, after in zip(two, four, strict=True):
        assert after < before + 32, (two, four)


def test_two_processes_place_and_restore(tmp_path):
    for placing, restoring in measure(2, 10, str(tmp_path)):
        assert 5 < placing < 200 and 5 < restoring < 200
