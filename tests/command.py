"""Runs the command line as a user does, in a process of its own."""

import os
import subprocess
import sys

import pytest
from etils import epath

from ns_jax.errors import UserError
from tests.conftest import REPO


def environment(devices: int = 1) -> dict:
    return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}


def quick_environment(devices: int = 1) -> dict:
    """As `environment`, for runs of a few steps: the compiler takes longer over their programs than they run."""
    return environment(devices) | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def arguments(workdir, *more: str, config: str = "configs/mnist5k.py:smoke") -> list[str]:
    return [sys.executable, "-m", "ns_jax.main", f"--config={config}", f"--workdir={workdir}", *more]


def run(
    workdir, *more: str, config: str = "configs/mnist5k.py:smoke", devices: int = 1, env: dict | None = None
) -> subprocess.CompletedProcess:
    """The finished process, its output as text."""
    return subprocess.run(
        arguments(workdir, *more, config=config),
        cwd=REPO,
        env=env or environment(devices),
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_module(module: str, *arguments, env: dict | None = None) -> subprocess.CompletedProcess:
    """The finished process of `python -m ns_jax.MODULE ARGUMENTS`, its output as text."""
    more = ("--nocache",) if module == "predict" else ()  # a test leaves the user's cache folder alone
    return subprocess.run(
        [sys.executable, "-m", f"ns_jax.{module}", *more, *map(str, arguments)],
        cwd=REPO,
        env=env or environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_here(workdir, config: str = "configs/mnist5k.py:smoke", **fields) -> None:
    """Runs a config with other `fields` in this process, on its eight devices; `__` in a field's name is a dot.

    What a process prints, and how it ends, is seen in tests that start one.
    """
    from ns_jax.experiment.checks import validate
    from ns_jax.experiment.opening import open_config
    from ns_jax.run import orchestrate

    opened = open_config(str(REPO / config))
    opened.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    validate(opened)
    orchestrate.run(opened, epath.Path(workdir))


def assert_refused(workdir, *words: str, config: str = "configs/mnist5k.py:smoke", **fields) -> None:
    """As `run_here`, of a run that ends with one line of error, which holds `words`."""
    with pytest.raises(UserError) as caught:
        run_here(workdir, config, **fields)
    message = str(caught.value)
    assert "\n" not in message, message
    for word in words:
        assert word in message, message


def assert_one_line_error(process, *words: str) -> None:
    """Exit code 2 and a single line of error that holds `words`."""
    assert process.returncode == 2, process.stdout + process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, process.stderr
    assert "Traceback" not in process.stderr
    for word in words:
        assert word in errors[0], errors[0]
