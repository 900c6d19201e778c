"""Ctrl-C in a process whose main thread is busy, or would lose an exception."""

import signal
import subprocess
import sys

import pytest

# A destructor that takes ten seconds: what is raised in it is printed and forgotten.
LOST = """
class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(10)
slow = Slow()
del slow
"""
# Compiled code that does not look at signals.
COMPILED = """
import ctypes
print("ready", flush=True)
ctypes.CDLL(None).poll(None, 0, 10_000) ; ctypes.CDLL(None).poll(None, 0, 10_000)
"""


@pytest.mark.parametrize("busy", [LOST, COMPILED])
def test_it_ends_at_once(busy):
    code = f"import time\nfrom ns_jax.interrupt import end_at_interrupt\nend_at_interrupt('stopped here')\n{busy}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        assert process.stderr.read() == b"\nstopped here\n"
