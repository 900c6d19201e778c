import functools

import jax
import jax.numpy as jnp
import pytest

from ns_jax.errors import UserError
from ns_jax.models.apply import activations
from ns_jax.models.base import build_network
from ns_jax.models.registry import ARCHITECTURES, get_architecture
from ns_jax.parallel.mesh import parameter_path

# B0 to B7 and L2: the official counts (1000 classes). Lite0 to Lite4: those of timm 1.0.31. L0, L1: the paper's rounded
# figures are 140M and 273M. The two small ones have no outside reference; their numbers keep them from changing unseen.
PARAMETERS = {
    "efficientnet-b0": 5_288_548,
    "efficientnet-b1": 7_794_184,
    "efficientnet-b2": 9_109_994,
    "efficientnet-b3": 12_233_232,
    "efficientnet-b4": 19_341_616,
    "efficientnet-b5": 30_389_784,
    "efficientnet-b6": 43_040_704,
    "efficientnet-b7": 66_347_960,
    "efficientnet-l0": 140_764_664,
    "efficientnet-l1": 272_630_564,
    "efficientnet-l2": 480_309_308,
    "efficientnet-lite0": 4_652_008,
    "efficientnet-lite1": 5_416_680,
    "efficientnet-lite2": 6_092_072,
    "efficientnet-lite3": 8_197_096,
    "efficientnet-lite4": 13_006_568,
    "efficientnet-b0-svhn": 5_288_548,
    "efficientnet-small": 322_008,
    "efficientnet-small-1.5": 609_268,
    "resnet-50": 25_557_032,
}


@functools.cache
def shapes(name):
    return jax.eval_shape(lambda: build_network(get_architecture(name), 1000).init(0, 32))


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_parameter_count(name):
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes(name)["params"]))
    assert count == PARAMETERS[name]


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_output_shapes(name):
    network = build_network(get_architecture(name), 1000)
    images = jax.ShapeDtypeStruct((2, *network.inputs.example_shape()), jnp.float32)
    logits = jax.eval_shape(network.module.apply, shapes(name), images)
    assert logits.shape == (2, 1000) and logits.dtype == jnp.float32


@pytest.mark.parametrize(
    "name, channels",
    [("efficientnet-b2", (16, 24, 48, 120, 352, 1408, 1408)), ("resnet-50", (64, 256, 512, 1024, 2048, 2048, 2048))],
)
def test_features(name, channels):
    network = build_network(get_architecture(name), 1000)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    features = jax.eval_shape(lambda v, x: activations(network, v, x), shapes(name), images)
    assert set(features) == set(network.architecture.endpoints)
    maps = [f"reduction_{i}" for i in range(1, 6)]
    assert [features[key].shape for key in maps] == [(2, 64 >> i, 64 >> i, c) for i, c in enumerate(channels[:5], 1)]
    assert features["features"].shape == (2, 2, 2, channels[5]) and features["pooled"].shape == (2, channels[6])


def test_l2_is_as_deep_and_wide_as_the_paper_says():
    l2 = get_architecture("efficientnet-l2")
    assert [l2.round_repeats(group.repeats) for group in l2.groups] == [6, 11, 11, 16, 16, 22, 6]
    assert [l2.round_filters(group.filters) for group in l2.groups] == [72, 104, 176, 344, 480, 824, 1376]


def test_ends_of_lite_are_not_scaled():
    """Stem, head, and the repeats of the first and last group (the official code's `fix_head_stem`)."""
    lite4, b4 = get_architecture("efficientnet-lite4"), get_architecture("efficientnet-b4")
    assert (lite4.stem_width, lite4.head_width, lite4.repeats) == (32, 1280, (1, 4, 4, 6, 6, 8, 1))
    assert (b4.stem_width, b4.head_width, b4.repeats) == (48, 1792, (2, 4, 4, 6, 6, 8, 2))
    assert [lite4.round_filters(group.filters) for group in lite4.groups] == [24, 32, 56, 112, 160, 272, 448]


def test_unknown_variant_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'efficientnet-b0'"):
        get_architecture("efficientnet_b0")


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-lite0", "efficientnet-small", "resnet-50"])
def test_one_layer_depends_on_the_number_of_classes(name):
    """The head of the contract is what changes its shape with the number of classes, and nothing else."""
    architecture = get_architecture(name)
    few, many = (jax.eval_shape(lambda n=n: build_network(architecture, n).init(0, 32))["params"] for n in (3, 5))
    for (path, left), right in zip(jax.tree_util.tree_leaves_with_path(few), jax.tree.leaves(many), strict=True):
        assert architecture.is_head(parameter_path(path)) == (left.shape != right.shape), path


class Lacking:
    name, inputs = "", None


def test_a_factory_that_lacks_a_part_of_the_contract():
    with pytest.raises(UserError, match=r"Lacking lacks build, is_head, decays.*the contract needs"):
        get_architecture("tests.models.test_variants:Lacking")
    with pytest.raises(UserError, match=r"cannot be made: .*abstract.*build"):
        get_architecture("ns_jax.models.base:Architecture")
    with pytest.raises(UserError, match="cannot import no_such_module"):
        get_architecture("no_such_module:make")
    with pytest.raises(UserError, match="has no 'Lackin', did you mean 'Lacking'"):
        get_architecture("tests.models.test_variants:Lackin")
