"""gcloud, as the launcher uses it: the TPU of the settings, its workers, and objects of the bucket."""

import pathlib
import shlex
import subprocess
import time

from launch.errors import LaunchError
from launch.tpu.settings import Settings

NOT_THERE = "NOT_FOUND"  # in what gcloud says of a TPU that does not exist
NO_OBJECTS = "matched no objects or files"  # and of objects
NO_RETRY = 3  # exit code of our scripts for what no second try can mend


class GcloudError(LaunchError):
    """A gcloud command failed. `code` is its exit code: of the remote command, or 255 without a connection."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def say(text: str) -> None:
    print(f"launch: {text}", flush=True)


class Tpu:
    """The TPU of the settings, through gcloud."""

    def __init__(self, settings: Settings, dry_run: bool = False):
        self.settings, self.dry_run = settings, dry_run
        self._num_workers = 0

    def gcloud(self, *arguments: str, dry: str = "") -> str:
        """Runs `gcloud compute tpus ...` and returns its output. A dry run prints it and returns `dry`."""
        where = [f"--project={self.settings.project}", f"--zone={self.settings.zone}", "--quiet"]
        return self._run(["compute", "tpus", *arguments, *where], dry)

    def _run(self, arguments: list[str], dry: str, errors: str = "replace") -> str:
        command = ["gcloud", *arguments]
        if self.dry_run:
            print(shlex.join(command), flush=True)
            return dry
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors=errors, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise LaunchError("gcloud is not installed: https://cloud.google.com/sdk/docs/install") from None
        if done.returncode:
            raise GcloudError(done.stderr.strip() or f"gcloud ended with {done.returncode}", done.returncode)
        return done.stdout

    def ssh(self, script: str, first_only: bool = False, dry: str = "") -> str:
        """Runs a shell script on all workers, a batch at a time, or on the first. Returns what they print."""
        try:
            return "".join(self._ssh(script, where, dry) for where in self._batches(first_only))
        except GcloudError as error:
            ours = [line for line in str(error).splitlines() if line.startswith("error: ")]
            if error.code == NO_RETRY and ours:  # the same from every worker, among gcloud's own lines
                raise GcloudError(ours[0].removeprefix("error: "), error.code) from None
            raise

    def _ssh(self, script: str, where: list[str], dry: str) -> str:
        kind = "queued-resources" if self.settings.queued else "tpu-vm"
        flags = [*where, f"--command={script}", *self.settings.ssh_flags]
        return self.gcloud(kind, "ssh", self.settings.name, *flags, dry=dry)

    def _batches(self, first_only: bool) -> list[list[str]]:
        """Flags of gcloud that name workers, of each command that is needed to reach them."""
        size = self.settings.batch_size
        if self.settings.queued:  # gcloud makes the batches
            return [
                ["--node=0", "--worker=0"] if first_only else ["--node=all", "--worker=all", f"--batch-size={size}"]
            ]
        if first_only:
            return [["--worker=0"]]
        count = self.num_workers()
        if count <= size:
            return [["--worker=all"]]
        return [[f"--worker={first}-{min(first + size, count) - 1}"] for first in range(0, count, size)]

    def num_workers(self) -> int:
        """Number of workers of all slices; asked for once."""
        if not self._num_workers:
            field = "--format=value(networkEndpoints.len())"
            for node in self.settings.nodes:
                text = self.gcloud("tpu-vm", "describe", node, field, dry="1").strip()
                self._num_workers += int(text) if text.isdecimal() else 1
        return self._num_workers

    def forget_workers(self) -> None:
        """A TPU that is created anew may have others."""
        self._num_workers = 0

    def read_objects(self, url: str, start: int = 0) -> str:
        """The text of the objects or files that match `url`, one after the other; '' where there is none.

        Args:
          url: may end with a pattern such as *.end.
          start: bytes that are left out, of a single object.

        Returns:
          text with surrogate escapes: bytes that are not UTF-8 can be counted.
        """
        if not url.startswith("gs://"):
            if self.dry_run:
                return ""
            path = pathlib.Path(url)
            files = sorted(path.parent.glob(path.name))
            return "".join(file.read_bytes()[start:].decode(errors="surrogateescape") for file in files)
        try:
            return self._run(["storage", "cat", *([f"--range={start}-"] if start else []), url], "", "surrogateescape")
        except GcloudError as error:
            if NO_OBJECTS in str(error) or "416" in str(error):  # HTTP: nothing is there after `start` yet
                return ""
            raise

    def wait(self, polls: int = 1) -> None:
        if not self.dry_run:
            time.sleep(polls * self.settings.poll_seconds)
