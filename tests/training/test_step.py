"""The whole step: one device and eight alike, the optimiser like TensorFlow's, EMA as defined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from ns_jax.configs import mnist5k
from ns_jax.models.efficientnet.network import EfficientNet
from ns_jax.models.variants import get_variant
from ns_jax.training.optimizer import decays, l2_penalty, make_optimizer
from ns_jax.training.schedule import ema_decay
from ns_jax.training.state import abstract_state, create_state, model_variables, tree_checksums
from ns_jax.training.step import interleave, make_predict, make_train_step, separate
from tests.training.short_run import TINY, L, U, batch, mesh_of, train

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def on_one():
    return train(1)


def test_eight_devices_do_not_change_the_result(on_one):
    losses, state = train(8)
    np.testing.assert_allclose(losses, on_one[0], rtol=2e-5)
    for one, many in zip(jax.tree.leaves(on_one[1].ema_params), jax.tree.leaves(state.ema_params), strict=True):
        np.testing.assert_allclose(many, one, atol=3e-5)


def test_ema_follows_its_definition():
    _, before = train(1, steps=1)
    _, after = train(1, steps=2)
    decay = float(ema_decay(0.99, 2))
    for name in ("params", "batch_stats"):
        rows = [
            jax.tree.leaves(getattr(state, field))
            for state, field in ((before, f"ema_{name}"), (after, name), (after, f"ema_{name}"))
        ]
        for old, new, found in zip(*rows, strict=True):
            np.testing.assert_allclose(found, decay * old + (1 - decay) * new, rtol=1e-4, atol=1e-6)


def test_noise_is_of_the_seed_and_not_of_the_run(on_one):
    assert train(1)[0] == on_one[0]  # bit for bit
    assert train(1, steps=1, seed=1)[0] != on_one[0][:1]


def test_frozen_layers_stay_as_they_are():
    _, start = train(1, steps=0)
    _, end = train(1, steps=2, frozen_blocks=2, weight_decay=0.1)
    for tree in ("params", "batch_stats", "ema_params"):
        before, after = (jax.tree_util.tree_leaves_with_path(getattr(state, tree)) for state in (start, end))
        for (path, old), (_, new) in zip(before, after, strict=True):
            frozen = path[0].key in ("stem", "stem_bn", "blocks_0", "blocks_1")
            assert np.array_equal(old, new) == frozen, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    "changes",
    [{"train_on": "pseudo_labels"}, {"labeled_sample_prob": 0.5}, {"noise": {"model_noise_unlabeled": False}}],
)
def test_forms_of_the_step_differ(on_one, changes):
    """Each of them trains, and none computes what the usual form does."""
    if "train_on" in changes:
        losses, _ = train(1, steps=1, only=("unlabeled_image", "probs"))
    else:
        losses, _ = train(1, steps=1, **changes)
    assert np.isfinite(losses[0]) and losses[0] != on_one[0][0]


def test_interleave_keeps_every_device_to_itself():
    labeled, unlabeled = jnp.arange(8), 100 + jnp.arange(16)
    mixed = interleave(labeled, unlabeled, 4)
    assert mixed[:6].tolist() == [0, 1, 100, 101, 102, 103]
    one, two = separate(mixed, 8, 4)
    assert one.tolist() == labeled.tolist() and two.tolist() == unlabeled.tolist()


def test_batch_norm_alone_does_not_decay():
    model = EfficientNet(get_variant("efficientnet-small"), 10)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))["params"]
    kept = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params) if not decays(path)}
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert kept == {name for name in names if name.endswith(("['scale']", "_bn']['bias']"))} and kept


def test_rmsprop_is_tensorflows():
    rng = np.random.default_rng(0)
    value = rng.normal(size=(7, 5)).astype(np.float32)
    rates = [0.01, 0.02, 0.005] * 17
    config = mnist5k.get_config()
    optimizer = make_optimizer(config, lambda step: jnp.asarray(rates, jnp.float32)[step])
    params, state = {"w": jnp.asarray(value)}, optimizer.init({"w": jnp.asarray(value)})
    var, ms, mom = tf.Variable(value), tf.Variable(tf.ones_like(value)), tf.Variable(tf.zeros_like(value))
    for rate in rates[:50]:
        gradient = rng.normal(size=(7, 5)).astype(np.float32)
        decay = jax.grad(lambda p: 1e-2 * l2_penalty(p))(params)
        updates, state = optimizer.update(jax.tree.map(jnp.add, {"w": jnp.asarray(gradient)}, decay), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        gradient += np.float32(1e-2) * var.numpy()  # of TensorFlow's l2_loss
        tf.raw_ops.ResourceApplyRMSProp(
            var=var.handle, ms=ms.handle, mom=mom.handle, lr=rate, rho=0.9, momentum=0.9, epsilon=1e-3, grad=gradient
        )
    assert np.abs(params["w"] - var.numpy()).max() / np.abs(var.numpy()).max() < 1e-6


def test_checksums_see_a_single_bit():
    tree = {"a": jnp.arange(12.0).reshape(3, 4), "b": jnp.zeros((), jnp.int32)}
    flipped = tree["a"].view(jnp.uint32).at[1, 2].add(jnp.uint32(1)).view(jnp.float32)
    clean, damaged = tree_checksums(tree), tree_checksums(tree | {"a": flipped})
    assert int(clean[0]) != int(damaged[0]) and int(clean[1]) == int(damaged[1])


def test_tpu_program_of_b0_keeps_the_native_convolutions():
    """Lowered for TPU, the step holds the grouped convolutions and nothing of the CPU form."""
    config = mnist5k.get_config()
    mesh, variant = mesh_of(4), get_variant("efficientnet-b0")
    model = EfficientNet(variant, 1000, dtype=jnp.bfloat16)
    optimizer = make_optimizer(config, lambda step: jnp.float32(0.01))
    state = abstract_state(model, optimizer, 64, mesh)
    images = jax.ShapeDtypeStruct((L, 64, 64, 3), jnp.uint8)
    step = make_train_step(config, model, optimizer, lambda step: jnp.float32(0.01), state)
    labels = jax.ShapeDtypeStruct((L,), jnp.int32)
    text = step.trace(state, {"image": images, "label": labels}).lower(lowering_platforms=("tpu",)).as_text()
    blocks, pointwise_expands = variant.num_blocks, variant.num_blocks - 1  # the first block does not expand
    convolutions = blocks * (1 + 2 + 1) + pointwise_expands + 2  # depthwise, SE, project; expand; stem and head
    # Each has a forward form and two gradients, but the images have none.
    assert text.count("stablehlo.convolution") == 3 * convolutions - 1
    grouped = [
        line
        for line in text.splitlines()
        if "stablehlo.convolution" in line
        and ("feature_group_count = 1 " not in line or "batch_group_count = 1 " not in line)
    ]
    assert len(grouped) == 3 * blocks
    assert "stablehlo.while" not in text and text.count("stablehlo.dot_general") == 3  # those of the classifier


def test_online_teacher_is_the_stored_one():
    config, mesh = mnist5k.get_config(), mesh_of(4)
    config.labeled_batch_size = L
    model, teacher = EfficientNet(TINY, 10), EfficientNet(TINY, 10)
    variables = model_variables(teacher, 7, 32)
    schedule = lambda step: jnp.float32(0.01)
    optimizer = make_optimizer(config, schedule)
    fed = batch(0)
    clean = np.random.default_rng(1).uniform(0, 255, (U, 32, 32, 3)).astype(np.float32)
    results = []
    for online in (False, True):
        state = create_state(model, optimizer, 0, 28, mesh)
        step = make_train_step(config, model, optimizer, schedule, state, teacher if online else None)
        if online:
            taught, extra = {"clean_image": clean}, (variables,)
        else:
            probs = make_predict(teacher, mesh)(variables, clean, np.zeros(U, np.int32))
            taught, extra = {"probs": np.asarray(probs)}, ()
        given = {key: fed[key] for key in ("image", "label", "unlabeled_image")} | taught
        results.append(step(state, given, *extra))
    (stored, first), (inside, second) = results
    assert (
        np.isclose(first["loss"], second["loss"], rtol=1e-5)
        and first["teacher_agreement"] == second["teacher_agreement"]
    )
    for one, other in zip(jax.tree.leaves(stored.params), jax.tree.leaves(inside.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
