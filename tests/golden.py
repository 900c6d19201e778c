"""The golden texts: what each experiment is, so that a changed default or override shows in review.

common.txt has every default; the file of an experiment what differs from it, and the parameters of its models.

python -m tests.golden          writes tests/golden/*.txt anew
"""

import functools
import hashlib

from ns_jax.configs import common
from ns_jax.experiment.chain import finetune_config, iterations
from ns_jax.experiment.fingerprint import flatten
from ns_jax.models.base import build_network, variable_shapes
from ns_jax.models.registry import get_architecture
from tests import experiments
from tests.conftest import REPO

FOLDER = REPO / "tests" / "golden"
COMMON = FOLDER / "common.txt"


@functools.cache
def shapes_by_path(variant: str) -> dict:
    """{path: shape} of every parameter with 1000 classes."""
    shapes = variable_shapes(build_network(get_architecture(variant), 1000))
    paths = {tuple(key.split("/")): shape for key, shape in shapes.items()}
    return {path[1:]: paths[path] for path in sorted(paths) if path[0] == "params"}


def parameters_text(config) -> str:
    """How many parameters, tensors that decay and frozen tensors, and a hash of their names, shapes and masks."""
    model = get_architecture(config.variant)
    lines, decaying, frozen = [], 0, 0
    for path, shape in shapes_by_path(config.variant).items():
        is_frozen = model.is_frozen(path, config.frozen_blocks)
        decays = model.decays(path) and not is_frozen
        name = "".join(f"['{key}']" for key in path)
        lines.append(f"{name} {shape} {decays} {is_frozen}")
        decaying, frozen = decaying + decays, frozen + is_frozen
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return f"{len(lines)} tensors, {decaying} decay, {frozen} are frozen, {digest}"


def common_text() -> str:
    """Every default, a line each."""
    return "".join(f"{key}: {value!r}\n" for key, value in sorted(flatten(common.get_config()).items()))


def golden_text(name: str) -> str:
    """What differs from the defaults in an experiment, and the parameters of each iteration."""
    config, defaults = experiments.load(name), flatten(common.get_config())
    lines = [
        f"{key}: {value!r}"
        for key, value in sorted(flatten(config).items())
        if key not in defaults or value != defaults[key]
    ]
    for iteration, resolved in iterations(config):
        lines.append(f"parameters {iteration}: {parameters_text(resolved)}")
        if resolved.finetune.epochs:
            lines.append(f"fine-tuned {iteration}: {parameters_text(finetune_config(resolved, 'model'))}")
    return "\n".join(lines) + "\n"


def path_of(name: str):
    return FOLDER / (name.replace("/", "_").replace(":", "-").replace(",", "-") + ".txt")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    COMMON.write_text(common_text())
    for name in experiments.names(REPO / "configs"):
        path_of(name).write_text(golden_text(name))
