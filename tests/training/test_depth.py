"""Smaller updates of early layers, and none but of the head at first."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ns_jax.models.base import BuildOptions, build_network
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import parameter_path
from ns_jax.training.depth import depth, scale_by_depth


@pytest.mark.parametrize("name", ["efficientnet-small", "resnet-50"])
def test_depth_grows_from_the_stem_to_the_head(name):
    architecture = get_architecture(name)
    network = build_network(architecture, 3, BuildOptions())
    params = jax.eval_shape(lambda: network.init(0))["params"]
    paths = [parameter_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    depths = {path: depth(architecture, path) for path in paths}
    assert {depths[path] for path in paths if path[0] == "stem"} == {1}
    for number in range(architecture.num_blocks):
        assert {depths[path] for path in paths if path[0] == f"blocks_{number}"} == {number + 1}
    assert {depths[path] for path in paths if architecture.is_head(path)} == {architecture.num_blocks + 1}


def test_updates():
    architecture = get_architecture("efficientnet-small")
    top = architecture.num_blocks + 1
    updates = {
        name: {"kernel": jnp.ones((2, 2))} for name in ("stem", "blocks_0", f"blocks_{top - 2}", "head", "classifier")
    }
    scaling = scale_by_depth(architecture, layer_decay=0.5, head_steps=2)
    state, seen = scaling.init(updates), []
    for _ in range(3):
        scaled, state = scaling.update(updates, state)
        seen.append({name: float(np.asarray(leaf["kernel"])[0, 0]) for name, leaf in scaled.items()})
    assert seen[0] == seen[1] == dict.fromkeys(updates, 0.0) | {"classifier": 1.0}
    lowest = 0.5 ** (top - 1)
    assert seen[2] == {"stem": lowest, "blocks_0": lowest, f"blocks_{top - 2}": 0.5, "head": 1.0, "classifier": 1.0}
    assert isinstance(state, optax.ScaleByScheduleState)
