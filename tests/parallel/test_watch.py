"""Three hosts without devices, of which one fails: the others end with its line, whatever they wait for."""

import pytest

from tests.parallel import light

GONE = "nothing was heard of"


@pytest.fixture(scope="module")
def forks():
    return light.forks()


@pytest.mark.parametrize("what", ["raise barrier", "raise computing"])
def test_an_error_of_one_is_the_line_of_all(forks, tmp_path, what):
    result = light.run(forks, 3, what, 1, tmp_path)
    assert result["codes"] == [1, 1, 1]
    (line,) = {line for lines in result["lines"] for line in lines}
    assert line.endswith("(process 1): ValueError: two lines") and sum(map(len, result["lines"])) == 3
    assert result["seconds"] < 30


def test_a_sigterm_of_one_is_told_to_hosts_at_their_own_pace(forks, tmp_path):
    assert light.run(forks, 2, "term labeling", 1, tmp_path)["codes"] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["barrier", "computing"])
@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_a_silent_host_ends_the_others(forks, tmp_path, fault, place):
    result = light.run(forks, 3, f"{fault} {place}", 2, tmp_path)
    assert result["codes"][:2] == [1, 1] and result["codes"][2] == (-9 if fault == "kill" else 1)
    assert all(GONE in line and "(process 2)" in line for lines in result["lines"][:2] for line in lines)
    assert light.SILENCE < result["seconds"] < 10 * light.SILENCE


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_without_process_0_the_others_end(forks, tmp_path, fault):
    """Killed, jax notices at once that its service has gone, and aborts the others."""
    result = light.run(forks, 3, f"{fault} barrier", 0, tmp_path)
    assert 0 not in result["codes"] and None not in result["codes"]
    assert result["seconds"] < 10 * light.SILENCE


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["pause", "slow"])
@pytest.mark.parametrize("at", [0, 1])
def test_slow_hosts_go_on(forks, tmp_path, fault, at):
    assert light.run(forks, 3, f"{fault} barrier", at, tmp_path)["codes"] == [0, 0, 0]


@pytest.mark.slow
def test_a_host_that_hangs_is_named_after_the_time_out(forks, tmp_path):
    result = light.run(forks, 3, "hang barrier", 1, tmp_path)
    assert result["codes"] == [1, 1, 1]
    assert all("(process 1) did not come to 'a barrier' within 30 s" in line for line in result["lines"][0])
