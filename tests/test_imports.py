"""Imports point one way (docs/architecture.md)."""

import ast

import pytest

from tests.conftest import REPO

LAYERS = {  # package -> what of ns_jax it may import
    "main": {"stages", "command_line", "config", "errors", "host_memory"},
    "plan": {"planning", "parallel", "interop", "models", "report", "command_line", "config", "errors"},
    "convert": {"model", "interop", "errors"},
    "predict": {"__init__", "data", "files", "errors", "load"},
    "model": {"data", "checkpoint", "interop", "models", "files", "errors"},
    "stages": {
        "training",
        "data",
        "pseudo_labels",
        "robustness",
        "report",
        "models",
        "parallel",
        "checkpoint",
        "interop",
        "model",
        "stages",
        "config",
        "errors",
        "files",
    },
    "training": {"models", "parallel", "training", "errors"},
    "data": {"data", "errors", "files"},
    "pseudo_labels": {"pseudo_labels", "errors", "files"},
    "report": {"report", "models", "parallel", "checkpoint", "interop", "errors", "files"},
    "models": {"models", "errors"},
    "parallel": {"parallel", "errors"},
    "planning": {"planning", "stages", "training", "pseudo_labels", "models", "parallel", "config", "errors"},
    "checkpoint": {"training", "parallel", "errors", "files"},
    "interop": {"interop", "models", "errors", "files"},
    "command_line": {"errors"},
    "config": {"models", "errors", "files"},
    "files": {"errors"},
    "errors": set(),
    "host_memory": set(),
    "__init__": {"model"},
}
TENSORFLOW = {"tensorflow", "tensorflow_datasets"}
MAY_IMPORT = {  # outside package -> who may
    "tensorflow": {"data", "interop", "main"},
    "tensorflow_datasets": {"data"},
    "orbax": {"checkpoint"},
    "jax": {
        "main",
        "model",
        "convert",
        "stages",
        "training",
        "models",
        "parallel",
        "checkpoint",
        "interop",
        "planning",
    },
    "flax": {"model", "models", "training", "interop"},
}
FILES = sorted((REPO / "ns_jax").rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_layers(path):
    layer = path.relative_to(REPO / "ns_jax").parts[0].removesuffix(".py")
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "ns_jax":
            assert rest[0] in LAYERS[layer], f"{layer} must not import {name}"
        if first in MAY_IMPORT:
            assert layer in MAY_IMPORT[first], f"{layer} must not import {first}"


@pytest.mark.parametrize("path", sorted((REPO / "configs").glob("*.py")), ids=lambda path: path.name)
def test_configs_import_nothing_heavy(path):
    allowed = ("ml_collections.", "math", "ns_jax.configs.", "ns_jax.experiment.fields")
    assert all(name.startswith(allowed) for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_only_parallel_names_mesh_axes(path):
    if path.parent.name != "parallel":
        assert "PartitionSpec" not in path.read_text()
