"""The commands that README and docs give have the flags and the config's fields that they name."""

import collections
import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPO

# Imports a module once, and parses each command in a copy of the process. Prints the numbers of those that fail.
PARSE = """
import importlib, json, os, sys
from absl import flags
module = importlib.import_module(sys.argv[1])
failed = []
for number, arguments in enumerate(json.loads(sys.argv[2])):
    child = os.fork()
    if not child:
        if hasattr(module, "define_flags"):
            module.define_flags()
        getattr(module, "parse_flags", flags.FLAGS)([sys.argv[1], *arguments])
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(number)
print(json.dumps(failed))
"""


def commands() -> dict[str, list[list[str]]]:
    """{module: arguments of its commands}; launch/'s and those of `report` are run by other tests."""
    unique = {}
    for path in (REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))):
        for command in re.findall(r"python -m (\w+\.(?:\\\n|[^`\n])*)", path.read_text()):
            unique[" ".join(command.replace("\\\n", " ").split())] = None
    by_module = collections.defaultdict(list)
    for command in unique:
        module, *arguments = shlex.split(command, comments=True)
        by_module[module].append(arguments)
    by_module.pop("ns_jax.report.tables")
    by_module.pop("ns_jax.report.robustness")
    return by_module


COMMANDS = commands()


@pytest.mark.parametrize("module", COMMANDS)
def test_commands_of_the_documents(module):
    process = subprocess.run(
        [sys.executable, "-c", PARSE, module, json.dumps(COMMANDS[module])], cwd=REPO, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    failed = [COMMANDS[module][number] for number in json.loads(process.stdout.splitlines()[-1])]
    assert not failed, f"{failed}: {process.stderr}"


def test_they_were_found():
    assert sum(len(arguments) for arguments in COMMANDS.values()) > 20


def test_extending_shows_the_files_that_tests_run():
    text = (REPO / "docs" / "extending.md").read_text()
    shown = dict(re.findall(r"^`tests/extending/(\w+\.py)`:\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    files = {path.name: path.read_text() for path in (REPO / "tests" / "extending").glob("*.py")}
    files = {name: content for name, content in files.items() if name.startswith("own_") or name == "experiment.py"}
    assert shown.keys() == files.keys()
    for name, content in files.items():
        assert shown[name] == content, f"docs/extending.md shows another tests/extending/{name}"


LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCUMENTS = sorted([*REPO.glob("*.md"), *(REPO / "docs").glob("*.md"), *(REPO / "launch").glob("*.md")])


def anchors(path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in LINK.findall(path.read_text()):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


# A path in backticks is one of this repository: `ns_jax/registry.py`, or below ns_jax/, `registry.py`.
PATH = re.compile(r"`((?:[\w.]+/)*[\w.]+\.(?:py|toml|sh|md|txt|yml)|(?:[\w.]+/)+)`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(path):
    for name in PATH.findall(path.read_text()):
        places = [REPO / name, REPO / "ns_jax" / name, REPO / "configs" / name, path.parent / name]
        assert any(place.exists() for place in places), f"{path.name} names {name}, which does not exist"
