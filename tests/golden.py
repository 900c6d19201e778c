"""The golden texts: what each experiment is, so that a changed default shows in review.

python -m tests.golden          writes tests/golden/*.txt anew
"""

import functools
import hashlib

from jax.tree_util import keystr, tree_leaves_with_path

from ns_jax.experiment.config import finetune_config, flatten, iterations
from ns_jax.interop.foreign import expected_shapes
from ns_jax.models.variants import get_variant
from ns_jax.training.optimizer import decays, is_frozen
from tests import experiments
from tests.conftest import REPO

FOLDER = REPO / "tests" / "golden"


@functools.cache
def shapes_by_path(variant: str) -> list:
    """(path, shape) of every parameter with 1000 classes."""
    from flax.traverse_util import unflatten_dict

    shapes = {
        key.removeprefix("params/"): shape
        for key, shape in expected_shapes(get_variant(variant), 1000).items()
        if key.startswith("params/")
    }
    return tree_leaves_with_path(unflatten_dict(shapes, sep="/"), is_leaf=lambda x: isinstance(x, tuple))


def parameters_text(config) -> str:
    """How many parameters, tensors that decay and frozen tensors, and a hash of their names, shapes and masks."""
    leaves = shapes_by_path(config.variant)
    lines = [
        f"{keystr(path)} {shape} {decays(path, config.frozen_blocks)} {is_frozen(path, config.frozen_blocks)}"
        for path, shape in leaves
    ]
    decaying = sum(decays(path, config.frozen_blocks) for path, _ in leaves)
    frozen = sum(is_frozen(path, config.frozen_blocks) for path, _ in leaves)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return f"{len(leaves)} tensors, {decaying} decay, {frozen} are frozen, {digest}"


def golden_text(name: str) -> str:
    config = experiments.load(name)
    lines = [f"{key}: {value!r}" for key, value in sorted(flatten(config).items())]
    for iteration, one in iterations(config):
        lines.append(f"parameters {iteration}: {parameters_text(one)}")
        if one.finetune.epochs:
            lines.append(f"fine-tuned {iteration}: {parameters_text(finetune_config(one, 'model'))}")
    return "\n".join(lines) + "\n"


def path_of(name: str):
    return FOLDER / (name.replace("/", "_").replace(":", "-").replace(",", "-") + ".txt")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for name in experiments.names(REPO / "configs"):
        path_of(name).write_text(golden_text(name))
