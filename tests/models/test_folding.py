"""Batch norm folded into convolutions: the same logits to round-off."""

import dataclasses

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from ns_jax.artifact.weights import Artifact
from ns_jax.inference.model import Model
from ns_jax.models import apply
from ns_jax.models.base import BuildOptions, build_network
from ns_jax.models.folding import folded
from ns_jax.models.registry import get_architecture
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")
TOLERANCE = 2e-5  # of the logits' standard deviation; B0 and the demo's model differ by 1e-6 to 7e-6


def tiny_resnet():
    """A bottleneck in each group: one with a projected skip, of stride 1 and 2."""
    return dataclasses.replace(get_architecture("resnet-50"), repeats=(2, 1, 1, 1))


def logits_of(network, variables, images):
    return np.asarray(jax.jit(lambda v, x: apply.logits(network, v, x))(network.to_module(variables), images))


@pytest.mark.parametrize("name", [TINY, "tests.models.test_folding:tiny_resnet"])
@pytest.mark.parametrize("scan", [False, True])
def test_the_same_logits(name, scan):
    artifact, architecture = random_artifact(name, 5), get_architecture(name)
    if scan and not architecture.can_scan:
        pytest.skip("has no loops")
    network = build_network(architecture, 5, BuildOptions(scan_blocks=scan))
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    without, variables = folded(network, artifact.variables)
    names = {key.split("/")[-1] for key in flatten_dict(variables, sep="/")}
    assert names <= {"kernel", "bias", "batch_stats"} and len(variables["batch_stats"]) == 0
    want, got = logits_of(network, artifact.variables, images), logits_of(without, variables, images)
    assert want.std() > 0 and 0 < np.abs(got - want).max() <= TOLERANCE * want.std()


def test_kernels_are_taken_out_where_asked():
    artifact = random_artifact(TINY, 3)
    network = build_network(get_architecture(TINY), 3)
    folded(network, artifact.variables)
    assert "kernel" in artifact.variables["params"]["stem"]
    folded(network, artifact.variables, consume=True)
    assert "kernel" not in artifact.variables["params"]["stem"]


def test_a_model_without_batch_norm_stays_as_it_is():
    from tests.extending.own_model import TinyConvNetArchitecture

    network = build_network(TinyConvNetArchitecture(), 3)
    variables = {"params": {"layer": {"kernel": np.ones(3)}}, "batch_stats": {}}
    assert folded(network, variables) == (network, variables)


def test_a_loaded_model_is_folded_unless_asked():
    artifact: Artifact = random_artifact(TINY, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    model, trained = Model(artifact), Model(artifact, fold_batch_norm=False)
    assert not model.variables["batch_stats"] and trained.variables["batch_stats"]
    want = trained.logits(images)
    np.testing.assert_allclose(model.logits(images), want, atol=TOLERANCE * want.std())
