"""The whole step: one device and eight alike, the optimiser like TensorFlow's, EMA as defined."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from ns_jax.inference.predictor import make_predict
from ns_jax.models.base import BuildOptions, build_network
from ns_jax.models.registry import get_architecture
from ns_jax.training.batching import interleave, separate
from ns_jax.training.optimizer import decay_mask, l2_penalty
from ns_jax.training.schedule import ema_decay
from ns_jax.training.state import abstract_state, tree_checksums
from ns_jax.training.step import make_train_step
from tests.training.short_run import (
    LOSS,
    OPTIONS,
    SETTINGS,
    TINY,
    L,
    U,
    batch,
    constant_rate,
    make,
    mesh_of,
    rmsprop,
    train,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def on_one():
    return train(1)


def test_eight_devices_do_not_change_the_result(on_one):
    losses, state = train(8)
    np.testing.assert_allclose(losses, on_one[0], rtol=2e-5)
    for few, many in zip(jax.tree.leaves(on_one[1].ema_params), jax.tree.leaves(state.ema_params), strict=True):
        np.testing.assert_allclose(many, few, atol=3e-5)


def test_ema_follows_its_definition():
    _, before = train(1, steps=1)
    _, after = train(1, steps=2)
    decay = float(ema_decay(0.98, 2))
    for name in ("params", "batch_stats"):
        old_average = jax.tree.leaves(getattr(before, f"ema_{name}"))
        new_value = jax.tree.leaves(getattr(after, name))
        new_average = jax.tree.leaves(getattr(after, f"ema_{name}"))
        for old, new, average in zip(old_average, new_value, new_average, strict=True):
            np.testing.assert_allclose(average, decay * old + (1 - decay) * new, rtol=1e-4, atol=1e-6)


def test_noise_is_of_the_seed_and_not_of_the_run(on_one):
    assert train(1)[0] == on_one[0]  # bit for bit
    assert train(1, steps=1, settings=dataclasses.replace(SETTINGS, seed=1))[0] != on_one[0][:1]


def test_frozen_layers_stay_as_they_are():
    _, start = train(1, steps=0)
    options = dataclasses.replace(OPTIONS, frozen_blocks=1)
    _, end = train(1, steps=2, options=options, settings=dataclasses.replace(SETTINGS, weight_decay=0.1))
    for tree in ("params", "batch_stats", "ema_params"):
        before, after = (jax.tree_util.tree_leaves_with_path(getattr(state, tree)) for state in (start, end))
        for (path, old), (_, new) in zip(before, after, strict=True):
            frozen = path[0].key in ("stem", "stem_bn", "blocks_0")
            assert np.array_equal(old, new) == frozen, jax.tree_util.keystr(path)


def losses_by_hand(state, step_batch, noise_unlabeled=True, labeled=True):
    """Per-example cross-entropies (labeled [L], unlabeled [U]) of the first step, from the network's own logits."""
    network = build_network(TINY, 10, OPTIONS)
    parts = ("image", "unlabeled_image") if labeled else ("unlabeled_image",)
    images = jnp.concatenate([jnp.asarray(step_batch[name]) for name in parts])
    ids = jnp.arange(len(images))
    if not noise_unlabeled:
        ids = jnp.where(ids < L, ids, -1)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    key = jax.random.fold_in(jax.random.key(0), jnp.int32(0))
    apply = jax.jit(functools.partial(network.module.apply, train=True, mutable=["batch_stats"]))
    logits, _ = apply(variables, network.prepare(images), example_ids=ids, rngs={"noise": key})
    log_probs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    targets = step_batch["probs"].astype(np.float64) ** 2  # temperature 0.5
    targets /= targets.sum(1, keepdims=True)
    unlabeled = -(targets * log_probs[-U:]).sum(1)
    if not labeled:
        return np.zeros(0), unlabeled
    smoothed = 0.9 * np.eye(10)[step_batch["label"]] + 0.01
    return -(smoothed * log_probs[:L]).sum(1), unlabeled


def test_loss_of_both_batches_is_their_mean():
    state, step = make(1)
    labeled, unlabeled = losses_by_hand(state, batch(0))
    _, metrics = step(state, batch(0))
    penalty = float(metrics["loss"]) - np.concatenate([labeled, unlabeled]).mean()
    assert 0 < penalty < 1e-2  # what weight decay adds
    np.testing.assert_allclose(metrics["labeled_loss"], labeled.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["unlabeled_loss"], unlabeled.mean(), rtol=1e-4)


def test_loss_of_pseudo_labels_alone():
    settings = dataclasses.replace(SETTINGS, weight_decay=0.0)
    state, step = make(1, settings=settings)
    _, unlabeled = losses_by_hand(state, batch(0), labeled=False)
    _, metrics = step(state, {key: batch(0)[key] for key in ("unlabeled_image", "probs")})
    np.testing.assert_allclose(metrics["loss"], unlabeled.mean(), rtol=1e-4)
    assert "accuracy" not in metrics


def test_loss_without_model_noise_for_pseudo_labels():
    settings = dataclasses.replace(SETTINGS, weight_decay=0.0, noise_unlabeled=False)
    state, step = make(1, settings=settings)
    losses = np.concatenate(losses_by_hand(state, batch(0), noise_unlabeled=False))
    _, metrics = step(state, batch(0))
    np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-4)


def test_the_students_own_ema_teaches_what_it_is_sure_of():
    threshold = 0.25
    loss = dataclasses.replace(LOSS, min_confidence=threshold, weight="confidence")
    state, step = make(1, settings=dataclasses.replace(SETTINGS, weight_decay=0.0, ema_teaches=True, loss=loss))
    others = jax.tree.map(lambda leaf: 1.2 * leaf, state.ema_params)  # no longer the student's weights
    state = dataclasses.replace(state, ema_params=others)
    clean = np.random.default_rng(1).uniform(0, 255, (U, 28, 28, 3)).astype(np.float32)
    ema = {"params": state.ema_params, "batch_stats": state.ema_batch_stats}
    probs = np.asarray(make_predict(build_network(TINY, 10), mesh_of(1))(ema, clean, np.zeros(U, np.int32)))
    confidence = probs.max(1)
    assert 0 < (confidence >= threshold).sum() < U, confidence
    fed = {"unlabeled_image": batch(0)["unlabeled_image"]}
    _, unlabeled = losses_by_hand(state, fed | {"probs": probs}, labeled=False)
    _, metrics = step(state, fed | {"clean_image": clean})
    expected = np.where(confidence >= threshold, confidence * unlabeled, 0).mean()
    np.testing.assert_allclose(metrics["unlabeled_loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)


def test_loss_of_sampled_labeled_images():
    """Images that are not drawn count nothing; the denominator is the expected number of drawn ones."""
    settings = dataclasses.replace(SETTINGS, weight_decay=0.0, loss=dataclasses.replace(LOSS, labeled_sample_prob=0.5))
    state, step = make(1, settings=settings)
    labeled, unlabeled = losses_by_hand(state, batch(0))
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), jnp.int32(0)), 1)
    drawn = np.asarray(jax.random.uniform(key, (L,)) < 0.5)
    assert 0 < drawn.sum() < L
    _, metrics = step(state, batch(0))
    np.testing.assert_allclose(metrics["loss"], (labeled[drawn].sum() + unlabeled.sum()) / (0.5 * L + U), rtol=1e-4)


def test_interleave_keeps_every_device_to_itself():
    labeled, unlabeled = jnp.arange(8), 100 + jnp.arange(16)
    mixed = interleave(labeled, unlabeled, 4)
    assert mixed[:6].tolist() == [0, 1, 100, 101, 102, 103]
    apart = separate(mixed, 8, 4)
    assert apart[0].tolist() == labeled.tolist() and apart[1].tolist() == unlabeled.tolist()


def test_batch_norm_alone_does_not_decay():
    architecture = get_architecture("efficientnet-small")
    params = jax.eval_shape(lambda: build_network(architecture, 10).init(0))["params"]
    mask = jax.tree_util.tree_leaves_with_path(decay_mask(architecture, params))
    kept = {jax.tree_util.keystr(path) for path, decays in mask if not decays}
    names = {jax.tree_util.keystr(path) for path, _ in mask}
    assert kept == {name for name in names if name.endswith(("['scale']", "_bn']['bias']"))} and kept


def test_rmsprop_is_tensorflows():
    rng = np.random.default_rng(0)
    value = rng.normal(size=(7, 5)).astype(np.float32)
    rates = [0.01, 0.02, 0.005] * 17
    optimizer = rmsprop(lambda step: jnp.asarray(rates, jnp.float32)[step])
    params, state = {"w": jnp.asarray(value)}, optimizer.init({"w": jnp.asarray(value)})
    var, ms, mom = tf.Variable(value), tf.Variable(tf.ones_like(value)), tf.Variable(tf.zeros_like(value))
    for rate in rates[:50]:
        gradient = rng.normal(size=(7, 5)).astype(np.float32)
        decay = jax.grad(lambda p: 1e-2 * l2_penalty(p, {"w": True}))(params)
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


def test_tpu_program_keeps_the_native_convolutions():
    """Lowered for TPU, the step holds the grouped convolutions and nothing of the CPU form."""
    architecture, optimizer = get_architecture("efficientnet-small"), rmsprop()
    network = build_network(architecture, 1000, BuildOptions(dtype=jnp.bfloat16, stochastic_depth_rate=0.2))
    state = abstract_state(network, optimizer, 64, mesh_of(4))
    images = jax.ShapeDtypeStruct((L, 64, 64, 3), jnp.uint8)
    step = make_train_step(network, optimizer, constant_rate, state, SETTINGS)
    labels = jax.ShapeDtypeStruct((L,), jnp.int32)
    text = step.trace(state, {"image": images, "label": labels}).lower(lowering_platforms=("tpu",)).as_text()
    blocks, pointwise_expands = architecture.num_blocks, architecture.num_blocks - 1  # the first block does not expand
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
    teacher = build_network(TINY, 10)
    variables = jax.jit(lambda: teacher.init(7, 32))()
    fed = batch(0)
    clean = np.random.default_rng(1).uniform(0, 255, (U, 32, 32, 3)).astype(np.float32)
    results = []
    for online in (False, True):
        state, step = make(4, teacher=teacher if online else None)
        if online:
            taught, extra = {"clean_image": clean}, (variables,)
        else:
            probs = make_predict(teacher, mesh_of(4))(variables, clean, np.zeros(U, np.int32))
            taught, extra = {"probs": np.asarray(probs)}, ()
        given = {key: fed[key] for key in ("image", "label", "unlabeled_image")} | taught
        results.append(step(state, given, *extra))
    (stored, first), (inside, second) = results
    assert np.isclose(first["loss"], second["loss"], rtol=1e-5)
    assert first["teacher_agreement"] == second["teacher_agreement"]
    for left, right in zip(jax.tree.leaves(stored.params), jax.tree.leaves(inside.params), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
