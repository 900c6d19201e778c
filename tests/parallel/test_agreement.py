"""Hosts that differ are named before anything starts."""

import dataclasses
import time

import pytest

from ns_jax.experiment.fingerprint import fingerprint, lockstep_fingerprint
from ns_jax.parallel.agreement import HostRecord, disagreement, source_fingerprint
from tests import command, hosts

FIRST = HostRecord("worker-0", 0, "aaa", "3.11.2", "0.10.2", "ccc", "/runs/b0", 1000.0)


def records(**of_host_2) -> list[HostRecord]:
    same = [dataclasses.replace(FIRST, host=f"worker-{i}", process=i, clock=1000.0 + i) for i in range(4)]
    same[2] = dataclasses.replace(same[2], **of_host_2)
    return same


def test_equal_hosts_agree():
    assert disagreement(records()) is None
    assert disagreement(records(clock=1059.0)) is None


@pytest.mark.parametrize(
    "field, value, words",
    [
        (
            "source",
            "bbb",
            "other source code of ns_jax than host worker-0 (process 0) (bbb there, aaa here): install the same commit",
        ),
        ("python", "3.12.1", "another Python than host worker-0 (process 0) (3.12.1 there, 3.11.2 here)"),
        ("jax", "0.9.0", "another jax than host worker-0 (process 0) (0.9.0 there, 0.10.2 here)"),
        ("config", "ddd", "another config than host worker-0 (process 0) (ddd there, ccc here): give the same command"),
        ("workdir", "/runs/b1", "another --workdir than host worker-0 (process 0) (/runs/b1 there, /runs/b0 here)"),
    ],
)
def test_the_odd_host_is_named(field, value, words):
    assert disagreement(records(**{field: value})).startswith(f"host worker-2 (process 2) has {words}")


def test_process_0_may_be_the_odd_one():
    assert disagreement([dataclasses.replace(FIRST, jax="0.9.0"), *records()[1:]]).startswith(
        "host worker-0 (process 0) has"
    )


def test_of_two_the_lead_is_right():
    lead, other = records(jax="0.9.0")[0], records(jax="0.9.0")[2]
    assert disagreement([lead, other]).startswith("host worker-2 (process 2) has another jax than host worker-0")


def test_several_odd_hosts_are_counted():
    line = disagreement([*records(), *(dataclasses.replace(FIRST, process=4 + i, jax="0.9.0") for i in range(3))])
    assert line.startswith("host worker-0 (process 4) and 2 more have another jax than host worker-0 (process 0)")


def test_clocks_apart():
    line = disagreement(records(clock=1100.0))
    assert (
        line == "the clock of host worker-2 (process 2) is 100 s ahead of that of host worker-0 (process 0): set them"
    )


def test_source_fingerprint_is_of_contents(monkeypatch, tmp_path):
    from ns_jax.parallel import agreement

    found = []
    for content in ("one = 1\n", "one = 1\n", "one = 2\n"):
        module = tmp_path / "ns_jax" / "parallel" / "agreement.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(content)
        monkeypatch.setattr(agreement, "__file__", str(module))
        found.append(source_fingerprint())
    assert found[0] == found[1] != found[2]


def test_fields_in_which_hosts_wait_for_each_other_count():
    from ns_jax.configs import mnist5k

    configs = [mnist5k.get_config("smoke") for _ in range(3)]
    configs[1].checkpoint_every_steps = 7
    configs[2].log_every_steps = 7
    assert len({fingerprint(one) for one in configs}) == 1
    assert lockstep_fingerprint(configs[0]) == lockstep_fingerprint(configs[2]) != lockstep_fingerprint(configs[1])


def test_two_processes_with_different_configs_end_at_once(tmp_path):
    commands = [command.arguments(tmp_path / "w", f"--config.seed={seed}") for seed in (0, 1)]
    begun = time.monotonic()
    with hosts.started(commands, 1, tmp_path / "logs") as processes:
        assert hosts.wait_all(processes, 120) == [2, 2]
    assert time.monotonic() - begun < 60
    for log in sorted((tmp_path / "logs").iterdir()):
        (line,) = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
        assert "(process 1) has another config than host " in line and "give the same command on all" in line
    assert not (tmp_path / "w" / "config.json").exists()
