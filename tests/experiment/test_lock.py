"""One run at a time in a workdir."""

import json
import os
import subprocess
import sys

import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.experiment.lock import LOCK, locked
from tests import command

HOLD = """
import sys
from etils import epath
from ns_jax.experiment.lock import locked
with locked(epath.Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told_of_the_first(tmp_path):
    workdir = epath.Path(tmp_path) / "w"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workdir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=command.REPO
    ) as first:
        assert first.stdout.readline() == b"locked\n"
        command.assert_refused(workdir, f"another run works in {workdir} (process {first.pid} on ", " since 20")
        assert [path.name for path in workdir.iterdir()] == [LOCK]
        first.kill()
    with locked(workdir):  # killed as it was, it holds nothing any more
        assert json.loads((workdir / LOCK).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\0"])
def test_what_the_file_holds_does_not_matter_where_nobody_locks_it(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with locked(epath.Path(tmp_path)):
        (tmp_path / LOCK).write_bytes(content)
        with pytest.raises(UserError, match="another run works in"), locked(epath.Path(tmp_path)):
            pass
    with locked(epath.Path(tmp_path)):
        pass
