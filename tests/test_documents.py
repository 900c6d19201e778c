"""The commands that README and docs give have the flags and the config's fields that they name."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPO

PARSE = """
import importlib, sys
from absl import flags
module = importlib.import_module(sys.argv[1])
if hasattr(module, "define_flags"):
    module.define_flags()
flags.FLAGS(sys.argv[1:])
if "config" in flags.FLAGS:
    flags.FLAGS.config.keys()  # reads the file
"""


def commands() -> list[str]:
    """Those of Python modules, each once; launch/'s and those of report.tables are run by other tests."""
    found = {}
    for path in (REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))):
        for command in re.findall(r"python -m (\w+\.(?:\\\n|[^`\n])*)", path.read_text()):
            found[" ".join(command.replace("\\\n", " ").split())] = None
    return [command for command in found if not command.startswith("ns_jax.report.tables ")]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documents(command):
    arguments = shlex.split(command, comments=True)
    process = subprocess.run([sys.executable, "-c", PARSE, *arguments], cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_they_were_found():
    assert len(commands()) > 20
