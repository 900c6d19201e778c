import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ns_jax.models.base import ImageInputs
from ns_jax.models.efficientnet.network import EfficientNetModule
from ns_jax.models.ops.batch_norm import ACTIVATIONS, BatchNorm, normalize
from tests.tiny_model import tiny_efficientnet


@pytest.mark.parametrize("groups", (1, 2, 4))
def test_batch_norm_groups(groups):
    x = np.random.default_rng(0).normal(2.0, 3.0, (8, 3, 5, 4)).astype(np.float32)
    layer = BatchNorm(groups=groups)
    variables = layer.init(jax.random.key(0), x, train=True)
    found, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    parts = x.reshape(groups, -1, *x.shape[1:]).astype(np.float64)
    mean, var = parts.mean((1, 2, 3)), parts.var((1, 2, 3))
    shape = (groups, 1, 1, 1, 4)
    expected = (parts - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-3)
    np.testing.assert_allclose(found, expected.reshape(x.shape), atol=2e-5)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.01 * mean.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["var"], 0.99 + 0.01 * var.mean(0), rtol=1e-5)


def test_normalize_images():
    images = np.full((1, 2, 2, 3), 128, np.uint8)
    inputs = ImageInputs(2, 2, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    prepared = inputs.prepare(jnp.asarray(images), jnp.float32)
    np.testing.assert_allclose(prepared[0, 0, 0], (128 / 255 - np.array([0.5, 0.4, 0.3])) / [0.2, 0.3, 0.4], rtol=1e-6)


def noisy(ids, images, **rates):
    model = EfficientNetModule(tiny_efficientnet(), 10, **rates)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    apply = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    return apply(variables, images, example_ids=ids, rngs={"noise": jax.random.key(1)})[0]


def test_noise_follows_the_example_and_not_its_place():
    image = jax.random.normal(jax.random.key(2), (1, 28, 28, 3))
    images = jnp.tile(image, (6, 1, 1, 1))
    ids = jnp.arange(6)
    order = jnp.array([3, 1, 5, 0, 2, 4])
    straight = noisy(ids, images, dropout_rate=0.5, stochastic_depth_rate=0.0)
    shuffled = noisy(ids[order], images, dropout_rate=0.5, stochastic_depth_rate=0.0)
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-6)
    assert np.unique(np.asarray(straight).round(5), axis=0).shape[0] == 6  # each its own mask


def test_rows_without_noise():
    image = jax.random.normal(jax.random.key(2), (1, 28, 28, 3))
    images = jnp.tile(image, (6, 1, 1, 1))
    rates = {"dropout_rate": 0.5, "stochastic_depth_rate": 0.5}
    found = np.asarray(noisy(jnp.array([0, -1, 2, -1, 4, -1]), images, **rates))
    mask_free = [1, 3, 5]
    np.testing.assert_array_equal(found[mask_free], np.tile(found[1:2], (3, 1)))
    assert np.unique(found.round(5), axis=0).shape[0] == 4


def test_stochastic_depth_keeps_the_expectation():
    from ns_jax.models.layers import StochasticDepth

    layer = StochasticDepth()
    x = jnp.ones((4000, 1, 1, 2))
    out = layer.apply({}, x, jnp.arange(4000), 0.25, rngs={"noise": jax.random.key(0)})
    values, counts = np.unique(np.asarray(out[:, 0, 0, 0]), return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 3])
    assert abs(counts[0] / 4000 - 0.25) < 0.03
    np.testing.assert_array_equal(layer.apply({}, x, None, 0.25), x)


def test_batch_norm_of_more_values_than_an_int32_counts():
    loss = lambda x, scale: normalize(x, scale, scale, 1e-3, "swish")[0].astype(jnp.float32).sum()
    x = jax.ShapeDtypeStruct((1, 60_000, 240, 240, 8), jnp.bfloat16)
    gradient = jax.eval_shape(jax.grad(loss), x, jax.ShapeDtypeStruct((8,), jnp.float32))
    assert gradient.shape == x.shape


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_batch_norm_is_that_of_its_definition(activation):
    x = 2 * jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 5)) + 1
    scale, bias = jax.random.normal(jax.random.key(1), (5,)), jax.random.normal(jax.random.key(2), (5,))
    weights = jax.random.normal(jax.random.key(3), x.shape)

    def definition(x, scale, bias):
        centred = x - x.mean((1, 2, 3), keepdims=True)
        z = centred / jnp.sqrt((centred**2).mean((1, 2, 3), keepdims=True) + 1e-3)
        z = z * scale.reshape(1, 1, 1, 1, 5) + bias.reshape(1, 1, 1, 1, 5)
        functions = {"": lambda z: z, "swish": jax.nn.swish, "relu6": jax.nn.relu6}
        return (weights * functions[activation](z)).sum()

    found = jax.grad(lambda *args: (weights * normalize(*args, 1e-3, activation)[0]).sum(), (0, 1, 2))(x, scale, bias)
    for one, two in zip(found, jax.grad(definition, (0, 1, 2))(x, scale, bias), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5)
