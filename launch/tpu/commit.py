"""The git commit that the workers run."""

import re
import subprocess

from launch.errors import LaunchError


def local_commit(wanted: str) -> str:
    """The full hash of a commit; of HEAD without `wanted`.

    Raises:
      LaunchError: changes are not committed, or there is no such commit.
    """

    def git(*arguments):
        try:
            return subprocess.run(["git", *arguments], capture_output=True, text=True)
        except FileNotFoundError:
            raise LaunchError("git is not installed") from None

    if not wanted and (changes := git("status", "--porcelain", "--untracked-files=no").stdout.strip()):
        raise LaunchError(
            f"changes are not committed ({len(changes.splitlines())} files), so the workers would not "
            "run them: commit and push, or name a --commit"
        )
    commit = git("rev-parse", "--verify", "--quiet", f"{wanted or 'HEAD'}^{{commit}}").stdout.strip()
    if not commit and not wanted:
        raise LaunchError("this folder is not a git clone: name a --commit")
    # The repository may have a commit that this clone lacks; a branch of it would not be the same one on every worker.
    if not commit and not re.fullmatch(r"[0-9a-f]{40}", wanted):
        raise LaunchError(f"there is no commit {wanted!r} here: name it by its full hash, or fetch it")
    return commit or wanted
