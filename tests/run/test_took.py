"""What stages took."""

import json

import pytest
from etils import epath

from ns_jax.run import took
from ns_jax.run.took import peak_mib, recorded


def test_starts_add_up_until_a_stage_is_finished(tmp_path, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 20.1])
    monkeypatch.setattr(took.time, "monotonic", lambda: next(clock))
    folder = epath.Path(tmp_path / "iteration_1")
    read = lambda: json.loads((folder / "took.json").read_text())["train"]
    with pytest.raises(KeyboardInterrupt), recorded(folder, "train"):
        raise KeyboardInterrupt
    assert read()["seconds"] == 5 and not read()["finished"]
    with recorded(folder, "train"):
        pass
    assert read()["seconds"] == 7 and read()["finished"]
    with recorded(folder, "train"):
        pass
    assert read()["seconds"] == 7


def test_peak_memory_is_in_mib():
    """Not below what is resident now, and of its order."""
    with open("/proc/self/status") as status:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith("Vm")}
    assert kib["VmRSS"] / 1024 <= peak_mib() * 1.01
    assert peak_mib() == pytest.approx(kib["VmHWM"] / 1024, rel=0.05)
