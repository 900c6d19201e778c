import os
import platform
import subprocess
import sys

import pytest

from tests.conftest import REPO

SCRIPT = """
import os, sys
print("start", flush=True)
from ns_jax.host_memory import restart_with_kept_memory
restart_with_kept_memory()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], os.getpid())
"""


def run(**changes):
    env = (
        {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
        | {"JAX_PLATFORMS": "cpu"}
        | changes
    )
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "--a", "b c"], env=env, cwd=REPO, text=True, stdout=subprocess.PIPE
    )
    return process.communicate()[0].splitlines(), process.pid


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.35"), reason="glibc 2.35 or newer")
def test_it_restarts_once_with_the_same_arguments_and_process():
    lines, pid = run()
    assert lines[:-1] == ["start", "start"]
    assert lines[-1].endswith(f"['--a', 'b c'] {pid}") and "glibc.malloc.hugetlb=1" in lines[-1]


def test_settings_of_the_user_stay():
    lines, _ = run(GLIBC_TUNABLES="glibc.malloc.arena_max=3")
    assert lines[0] == "start" and lines[1].startswith("glibc.malloc.arena_max=3 [")
