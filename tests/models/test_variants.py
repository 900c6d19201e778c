import functools

import jax
import jax.numpy as jnp
import pytest

from ns_jax.errors import UserError
from ns_jax.models.registry import create_model
from ns_jax.models.variants import VARIANTS, get_variant

# B0 to B7 and L2: the official counts (1000 classes). L0, L1: the paper's rounded figures are 140M and
# 273M. The two small ones have no outside reference; their numbers keep them from changing unseen.
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
    "efficientnet-b0-svhn": 5_288_548,
    "efficientnet-small": 322_008,
    "resnet-50": 25_557_032,
}


@functools.cache
def shapes(name):
    model = create_model(get_variant(name), 1000)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_count(name):
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes(name)["params"]))
    assert count == PARAMETERS[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_output_shapes(name):
    row = get_variant(name)
    model = create_model(row, 1000)
    variables = shapes(name)
    image = jax.ShapeDtypeStruct((2, row.resolution, row.resolution, 3), jnp.float32)
    logits = jax.eval_shape(model.apply, variables, image)
    assert logits.shape == (2, 1000) and logits.dtype == jnp.float32


@pytest.mark.parametrize(
    "name, channels",
    [("efficientnet-b2", (16, 24, 48, 120, 352, 1408, 1408)), ("resnet-50", (64, 256, 512, 1024, 2048, 2048, 2048))],
)
def test_features(name, channels):
    model = create_model(get_variant(name), 1000)
    image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    features = jax.eval_shape(lambda v, x: model.apply(v, x, features_only=True), shapes(name), image)
    maps = [f"reduction_{i}" for i in range(1, 6)]
    assert [features[key].shape for key in maps] == [(2, 64 >> i, 64 >> i, c) for i, c in enumerate(channels[:5], 1)]
    assert features["features"].shape == (2, 2, 2, channels[5]) and features["pooled"].shape == (2, channels[6])


def test_l2_is_as_deep_and_wide_as_the_paper_says():
    row = get_variant("efficientnet-l2")
    assert [row.round_repeats(s.repeats) for s in row.stages] == [6, 11, 11, 16, 16, 22, 6]
    assert [row.round_filters(s.filters) for s in row.stages] == [72, 104, 176, 344, 480, 824, 1376]


def test_unknown_variant_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'efficientnet-b0'"):
        get_variant("efficientnet_b0")
