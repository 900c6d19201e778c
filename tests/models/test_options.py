"""Build options for small sets: the bound of a fresh head, and batch norm's momentum."""

import dataclasses

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from ns_jax.models.base import BuildOptions, build_network
from ns_jax.models.registry import get_architecture

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("head_init, bound", [("classes", 2**-0.5), ("inputs", 256**-0.5)])
def test_the_bound_of_a_fresh_head(head_init, bound):
    network = build_network(get_architecture("efficientnet-small"), 2, BuildOptions(head_init=head_init))
    kernel = jax.jit(lambda: network.init(0))()["params"]["classifier"]["kernel"]
    assert kernel.shape == (256, 2) and 0.97 * bound < np.abs(kernel).max() <= bound


@pytest.mark.parametrize("name, own", [("efficientnet-small", 0.99), ("resnet-50", 0.9)])
def test_momentum_of_batch_norm(name, own):
    architecture = get_architecture(name)
    if name == "resnet-50":
        architecture = dataclasses.replace(architecture, repeats=(1, 1, 1, 1))
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)

    def stem_mean(momentum):
        network = build_network(architecture, 2, BuildOptions(bn_momentum=momentum))
        noise = {"noise": jax.random.key(0)}
        train = jax.jit(lambda v: network.module.apply(v, images, train=True, mutable=["batch_stats"], rngs=noise)[1])
        stats = flatten_dict(train(jax.jit(lambda: network.init(0))())["batch_stats"], sep="/")
        return next(value for key, value in stats.items() if key.startswith("stem") and key.endswith("mean"))

    # It starts at 0.
    np.testing.assert_allclose(stem_mean(0.5), stem_mean(None) * 0.5 / (1 - own), rtol=1e-4)
