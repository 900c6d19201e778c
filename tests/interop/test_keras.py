"""EfficientNets against keras.applications, an implementation that shares nothing with this one."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.models.base import BuildOptions
from ns_jax.models.registry import get_architecture
from tests.interop.weights import random_flat

LEAVES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}  # of Keras, here


def keras_model(name: str, size: int):
    build = getattr(keras.applications, "EfficientNet" + name[-2:].upper())
    return build(weights=None, input_shape=(size, size, 3), classifier_activation=None)


def keras_variables(model, name: str) -> dict:
    """{this project's key: Keras's variable}."""
    architecture = get_architecture(name)
    layers = {
        "stem": "stem_conv",
        "stem_bn": "stem_bn",
        "head": "top_conv",
        "head_bn": "top_bn",
        "classifier": "predictions",
    }
    index = 0
    for number, group in enumerate(architecture.groups, 1):
        for repeat in range(architecture.round_repeats(group.repeats)):
            block = f"block{number}{chr(ord('a') + repeat)}"
            names = {
                "expand": "expand_conv",
                "expand_bn": "expand_bn",
                "depthwise": "dwconv",
                "depthwise_bn": "bn",
                "se/reduce": "se_reduce",
                "se/expand": "se_expand",
                "project": "project_conv",
                "project_bn": "project_bn",
            }
            layers |= {
                f"blocks_{index}/{ours}": f"{block}_{theirs}"
                for ours, theirs in names.items()
                if group.expand != 1 or not ours.startswith("expand")
            }
            index += 1
    by_key = {}
    for ours, theirs in layers.items():
        for variable in model.get_layer(theirs).variables:
            leaf = LEAVES.get(variable.name, variable.name)
            collection = "batch_stats" if leaf in ("mean", "var") else "params"
            by_key[f"{collection}/{ours}/{leaf}"] = variable
    return by_key


def to_keras(key: str, value):
    return np.swapaxes(value, 2, 3) if key.endswith("depthwise/kernel") else value


def same_weights(name: str, size: int, calibrate: bool):
    """(Keras's model, its variables by our key, our model, our variables), all with the same random weights.

    With `calibrate`, batch norm's moments are those of some images: with random ones, activations vanish or
    explode with the depth.
    """
    theirs = keras_model(name, size)
    variables = keras_variables(theirs, name)
    flat = random_flat(name)
    assert variables.keys() == flat.keys()
    for key, variable in variables.items():
        variable.assign(to_keras(key, flat[key]))
    if calibrate:
        norms = [layer for layer in theirs.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for layer in norms:
            layer.momentum = 0.0
        theirs(255 * images(16, size), training=True)
        flat |= {key: variable.numpy() for key, variable in variables.items() if key.startswith("batch_stats")}
    ours = get_architecture(name).build(1000, BuildOptions(dropout_rate=0.0, stochastic_depth_rate=0.0))
    return theirs, variables, ours, unflatten_dict(flat, sep="/")


def images(count: int, size: int):
    return np.random.default_rng(1).normal(0, 1, (count, size, size, 3)).astype(np.float32)


# The suite has time for the smallest and one at an odd size; the others are slow tests.
@pytest.mark.parametrize(
    "name", [pytest.param(f"efficientnet-b{i}", marks=[] if i in (0, 1) else [pytest.mark.slow]) for i in range(8)]
)
def test_logits(name):
    size = 65 if name == "efficientnet-b1" else 64  # odd sizes pad differently
    theirs, _, ours, variables = same_weights(name, size, calibrate=True)
    x = images(2, size)
    want = theirs(255 * x, training=False).numpy()  # it divides by 255 itself
    got = np.asarray(jax.jit(functools.partial(ours.apply, train=False))(variables, x))
    assert np.abs(want[0] - want[1]).std() > 0.3 * want.std()  # the images, not the biases, decide
    assert np.abs(got - want).max() <= 1e-4 * want.std()


@pytest.mark.slow
def test_gradients_and_moments_of_a_training_step():
    name, size = "efficientnet-b0", 96
    theirs, known, ours, variables = same_weights(name, size, calibrate=False)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    x, labels = images(8, size), np.arange(8) * 100

    with tf.GradientTape() as tape:
        logits = theirs(255 * x, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    trained = {key: variable for key, variable in known.items() if key.startswith("params/")}
    want = dict(zip(trained, tape.gradient(loss, [variable.value for variable in trained.values()]), strict=True))
    want |= {key: variable.value for key, variable in known.items() if not key.startswith("params/")}

    def loss_of(params):
        logits, updates = ours.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), updates["batch_stats"]

    gradients, batch_stats = jax.jit(jax.grad(loss_of, has_aux=True))(variables["params"])
    got = flatten_dict({"params": gradients, "batch_stats": batch_stats}, sep="/")
    before = flatten_dict(variables, sep="/")
    size_of = {key: np.linalg.norm(np.asarray(value)) for key, value in want.items()}
    for key, value in want.items():
        value, mine = np.asarray(value), to_keras(key, np.asarray(got[key]))
        if key.startswith("batch_stats"):  # how far they moved: what was there before would hide it
            value, mine = value - before[key], mine - before[key]
        # A bias in front of another batch norm has no influence: its gradient is round-off, on both sides.
        if key.endswith("project_bn/bias") and size_of[key] < 1e-4 * size_of[key.replace("bias", "scale")]:
            assert np.linalg.norm(mine) < 1e-4 * size_of[key.replace("bias", "scale")], key
            continue
        error = np.linalg.norm(mine - value) / np.linalg.norm(value)
        assert error <= 1e-3, f"{key}: {error:.1e}"
