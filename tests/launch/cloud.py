"""A cloud on this machine: the stand-in for gcloud, and what tests do with it."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

from launch.errors import LaunchError
from launch.tpu.__main__ import main
from tests.conftest import REPO

README = (REPO / "launch" / "README.md").read_text()
STAND_IN = REPO / "tests" / "launch" / "stand_in_gcloud.py"
WHERE = ["--project=my-project", "--zone=us-central2-b", "--quiet"]
CREATE = [
    "compute",
    "tpus",
    "tpu-vm",
    "create",
    "ns-jax",
    "--version=tpu-ubuntu2204-base",
    "--accelerator-type=v4-32",
    "--spot",
    *WHERE,
]
DESCRIBE = ["compute", "tpus", "tpu-vm", "describe", "ns-jax", "--format=value(state)", *WHERE]
DELETE = ["compute", "tpus", "tpu-vm", "delete", "ns-jax", *WHERE]

# In place of the workers' Python: does what the name of the config says.
WORK = """#!/bin/bash
for flag; do case $flag in --config=*) config=${flag#*=};; --workdir=*) workdir=${flag#*=};; esac; done
echo "flags: $*"
case $workdir in gs://*) workdir=$STAND_IN/gs/${workdir#gs://};; esac
mkdir -p "$workdir"
progress() { printf '{"stages_begun": 1, "done": %s}' "$1" > "$workdir/progress.json"; }
starts=$(cat "$workdir/count-$SLURM_PROCID" 2>/dev/null || echo 0)
echo $((starts + 1)) > "$workdir/count-$SLURM_PROCID"
case $config in
  gets-on) progress $((starts + 1)); [ "$starts" = 4 ] || exit 7;;
  stays) progress 5; exit 7;;
  hangs) [ "$starts" = 1 ] || sleep 1000;;
  hangs-for-ever) sleep 1000;;
  mistake) echo "error: no such source" >&2; exit 2;;
  wait) echo started >> "$workdir/starts"; while [ ! -e "$workdir/go" ]; do sleep 0.05; done; echo went on;;
  deaf) trap '' TERM; touch "$workdir/deaf-$SLURM_PROCID"; while true; do sleep 0.1; done;;
  fail) echo "it went wrong"; exit 7;;
esac
"""


class Cloud:
    """A stand-in cloud in a folder, and a settings file for it."""

    def __init__(self, folder: pathlib.Path, python: str, repository: pathlib.Path, **settings):
        self.folder = folder / "cloud"
        self.bucket = folder / "bucket"
        for made in (self.folder, self.bucket, folder / "bin"):
            made.mkdir()
        gcloud = folder / "bin" / "gcloud"
        gcloud.write_text(f'#!/bin/bash\nexec "{sys.executable}" -S -E "{STAND_IN}" "$@"\n')
        gcloud.chmod(0o755)
        hostname = folder / "bin" / "hostname"
        hostname.write_text("#!/bin/bash\necho worker-$SLURM_PROCID\n")
        hostname.chmod(0o755)
        self.environment = {"PATH": f"{gcloud.parent}:{os.environ['PATH']}", "STAND_IN": str(self.folder)}
        self.settings = folder / "settings.toml"
        values = {
            "name": "ns-jax",
            "project": "my-project",
            "zone": "us-central2-b",
            "accelerator_type": "v4-32",
            "runtime_version": "tpu-ubuntu2204-base",
            "bucket": str(self.bucket),
            "repository": str(repository),
            "python": python,
            "spot": True,
            "poll_seconds": 0.2,
            "look_minutes": 0.02,
        } | settings
        self.values = values
        self.write_settings()

    def write_settings(self, **changes) -> None:
        """Writes the settings file anew; a value None leaves a key out."""
        self.values = {key: value for key, value in (self.values | changes).items() if value is not None}
        self.settings.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self.values.items()))

    def launch(self, command: str, *flags: str) -> list[str]:
        return [sys.executable, "-m", "launch.tpu", command, f"--settings={self.settings}", *flags]

    def preempt(self) -> None:
        subprocess.run(["gcloud", "preempt", "ns-jax"], env=os.environ | self.environment, check=True)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    def steps(self) -> list:
        """The calls in order without the polls: what was run on the workers in a word, the others as they were."""
        words = {"git clone": "setup", "docker pull": "setup", "setsid": "start", "kill -TERM": "stop"}
        steps = []
        for call in self.calls():
            if call[3] == "ssh":
                assert call[4] == "ns-jax" and call[-3:] == WHERE
                command = next(flag for flag in call if flag.startswith("--command="))
                word = next((word for mark, word in words.items() if mark in command), None)
                if word:
                    assert "--worker=all" in call
                    steps.append(word)
            elif call[0] == "compute" and call[3] != "describe":
                steps.append(call)
        return steps


def git(*arguments, cwd=REPO) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def launch(cloud: Cloud, command: str, *flags: str) -> None:
    main([command, f"--settings={cloud.settings}", *flags])


def until(happened, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


class InBackground:
    """A launcher command in a thread; `error` is its LaunchError."""

    def __init__(self, cloud: Cloud, command: str, *flags: str):
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(cloud, command, *flags), daemon=True)
        self.thread.start()

    def _run(self, *arguments):
        try:
            launch(*arguments)
        except LaunchError as error:
            self.error = error

    def end(self) -> str | None:
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.error and str(self.error)


def readme_commands(start: str) -> list[str]:
    return [line for line in README.splitlines() if line.startswith(start)]
