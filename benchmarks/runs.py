"""Whole runs of `ns_jax.main`, as the benchmarks start them, and what came out of them."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def run_main(config: str, workdir: Path, overrides: Mapping[str, object], *flags: str) -> None:
    """Runs an experiment in a process of its own; an interrupted run continues.

    Args:
      config: as after --config=.
      workdir: of the run.
      overrides: {'data.labeled': value, ...}: fields of the config.
      flags: others of `ns_jax.main`.

    Raises:
      CalledProcessError: the run failed.
    """
    fields = [f"--config.{key}={value}" for key, value in overrides.items()]
    command = [sys.executable, "-m", "ns_jax.main", f"--config={config}", f"--workdir={workdir}", *fields, *flags]
    subprocess.run(command, check=True)


def top1(folder: Path) -> float:
    """Test accuracy in % of the iteration in a folder."""
    return 100 * json.loads((folder / "evaluations" / "test.json").read_text())["top1"]
