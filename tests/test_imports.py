"""Imports point one way (docs/architecture.md)."""

import ast

import pytest

from tests.conftest import REPO

# Lowest first. A file imports from its own package and from lower lines, never from its neighbours or upwards; what
# the tables of stages and evaluations name, they name by import path.
LAYERS = (
    {"errors", "version"},
    {"buckets"},
    {"registry", "files", "host_memory", "interrupt", "cores"},
    {"progress_file"},
    {"models", "data", "pseudo_labels", "parallel"},
    {"artifact", "experiment"},
    {"training", "interop"},
    {"checkpoint"},
    {"inference"},
    {"evaluators"},
    {"report"},
    {"run"},
    {"planning"},
    {"stages"},
    {"command_line"},
    {"session"},
    {"fitting"},
    {"__init__"},
    {"main", "evaluate", "fit", "plan", "predict", "convert", "deduplicate", "label_next", "pack"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MAY_IMPORT = {  # outside package -> who may
    "tensorflow": {"data", "interop", "session"},
    "tensorflow_datasets": {"data"},
    "orbax": {"checkpoint"},
    "flax": {"artifact", "experiment", "inference", "interop", "models", "training"},
    "matplotlib": {"report"},
}
WITHOUT_JAX = {"buckets", "data", "pseudo_labels", "experiment", "registry", "files", "errors", "command_line"}
FILES = [path for path in sorted((REPO / "ns_jax").rglob("*.py")) if "configs" not in path.parts]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(path) -> str:
    return path.relative_to(REPO / "ns_jax").parts[0].removesuffix(".py")


def test_every_package_has_its_place():
    assert {layer_of(path) for path in FILES} == LEVEL.keys()


@pytest.mark.parametrize("layer", sorted(LEVEL))
def test_layers(layer):
    for path in FILES:
        if layer_of(path) != layer:
            continue
        for name in imports(path):
            first, *rest = name.split(".")
            if first == "ns_jax" and rest[0] != "configs":
                target = rest[0] if rest[0] in LEVEL else "__init__"
                below = LEVEL[target] < LEVEL[layer]
                assert below or target == layer, f"{path.relative_to(REPO)} must not import {name}"
            if first in MAY_IMPORT:
                assert layer in MAY_IMPORT[first], f"{path.relative_to(REPO)} must not import {first}"
            assert first != "jax" or layer not in WITHOUT_JAX, f"{path.relative_to(REPO)} must not import jax"


def test_configs_import_nothing_heavy():
    for path in sorted((REPO / "configs").glob("*.py")):
        for name in imports(path):
            light = name.split(".")[0] in {"ml_collections", "math"}
            assert light or name.startswith(("ns_jax.configs", "ns_jax.experiment")), f"{path.name} imports {name}"


def test_only_parallel_names_mesh_axes():
    for path in FILES:
        assert path.parent.name == "parallel" or "PartitionSpec" not in path.read_text(), path
