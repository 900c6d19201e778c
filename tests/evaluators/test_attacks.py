"""FGSM and PGD against the closed form of a linear classifier, and what every attack must keep to."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import strategies as st

from ns_jax.evaluators.attacks import Attack, attacked
from ns_jax.models.base import Architecture, BuildOptions, ImageInputs, build_network
from ns_jax.models.registry import get_architecture
from tests.tiny_model import TINY

CLASSES, SIZE = 3, 4


class Linear(nn.Module):
    """Images [N, SIZE, SIZE, 3] to logits, without a nonlinearity."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train: bool = False, example_ids=None):
        return nn.Dense(self.num_classes, use_bias=False, name="head")(images.reshape(images.shape[0], -1))


class LinearArchitecture(Architecture):
    name = "linear"
    inputs = ImageInputs(SIZE, SIZE, crop_padding=0, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))

    def build(self, num_classes, options):
        return Linear(num_classes)

    def is_head(self, path):
        return True


@pytest.fixture(scope="module")
def linear():
    """(network, variables, weights float64 [pixels, CLASSES])."""
    network = build_network(LinearArchitecture(), CLASSES)
    weights = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, CLASSES)).astype(np.float32)
    return network, {"params": {"head": {"kernel": jnp.asarray(weights)}}, "batch_stats": {}}, weights.astype(float)


def attack_images(network, variables, attack, images, labels, epsilon, restart=0):
    run = jax.jit(functools.partial(attacked, network, attack))
    ids = np.arange(len(images), dtype=np.int32)
    return np.asarray(run(variables, images, labels, ids, np.float32(epsilon), np.int32(restart)))


def random_images(seed, count=5):
    random = np.random.default_rng(seed)
    images = random.uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32)
    return images, random.integers(0, CLASSES, count).astype(np.int32)


def gradients(weights, images, labels):
    """Of the cross-entropy of softmax(W^T (x / 255 - mean) / std), by hand: float64, as the images."""
    inputs = LinearArchitecture.inputs
    mean, std = np.array(inputs.mean), np.array(inputs.std)
    prepared = ((images / 255.0 - mean) / std).reshape(len(images), -1)
    logits = prepared @ weights
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    by_logit = probs - np.eye(CLASSES)[labels]
    return (by_logit @ weights.T).reshape(images.shape) / (255.0 * std)


def test_fgsm_is_the_closed_form(linear):
    network, variables, weights = linear
    images, labels = random_images(1)
    want = np.clip(images + 8 * np.sign(gradients(weights, images, labels)), 0, 255)
    np.testing.assert_allclose(attack_images(network, variables, Attack(), images, labels, 8.0), want, atol=1e-4)


def test_pgd_is_the_closed_form(linear):
    network, variables, weights = linear
    images, labels = random_images(2)
    points, epsilon, size = images.astype(float), 6.0, 2.0
    for _ in range(5):
        moved = points + size * np.sign(gradients(weights, points, labels))
        points = np.clip(moved, np.maximum(images - epsilon, 0), np.minimum(images + epsilon, 255))
    attack = Attack(steps=5, step_size=size / epsilon)
    np.testing.assert_allclose(attack_images(network, variables, attack, images, labels, epsilon), points, atol=1e-3)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.5, 4.0, 300.0]),
    st.booleans(),
    st.floats(-40, 0),
    st.floats(255, 300),
)
def test_no_image_leaves_the_ball_or_the_range(linear, seed, epsilon, random_start, lowest, highest):
    """Bicubic resizes overshoot: such a pixel may stay where it is, and not go further."""
    network, variables, _ = linear
    images, labels = random_images(seed % 1000)
    images[0, 0, 0], images[1, 1, 1] = lowest, highest
    attack = Attack(steps=3, step_size=0.7, random_start=random_start)
    changed = attack_images(network, variables, attack, images, labels, epsilon)
    slack = 1e-4
    assert np.abs(changed - images).max() <= epsilon + slack
    assert (changed >= np.minimum(images, 0) - slack).all() and (changed <= np.maximum(images, 255) + slack).all()
    if epsilon == 0:
        np.testing.assert_array_equal(changed, images)


def test_random_starts_are_of_the_id_and_the_restart(linear):
    network, variables, _ = linear
    images, labels = random_images(3)
    attack = Attack(steps=1, step_size=0.0, random_start=True)  # the start itself
    start, again = (attack_images(network, variables, attack, images, labels, 4.0) for _ in range(2))
    np.testing.assert_array_equal(start, again)
    other = attack_images(network, variables, attack, images, labels, 4.0, restart=1)
    assert np.abs(other - start).mean() > 0.5
    same_image = np.repeat(images[:1], 5, 0)
    starts = attack_images(network, variables, attack, same_image, labels, 4.0)
    assert np.abs(starts[0] - starts[1]).mean() > 0.5  # two ids, one image
    alone = attack_images(network, variables, attack, images[:2], labels[:2], 4.0)
    np.testing.assert_array_equal(alone, start[:2])
    assert np.abs(start - images).max() <= 4.0 + 1e-4 and np.abs(start - images).max() > 3


def test_pgd_raises_the_loss_at_least_as_much_as_fgsm_on_a_linear_model(linear):
    network, variables, weights = linear
    images, labels = random_images(4, count=40)

    def losses(points):
        inputs = LinearArchitecture.inputs
        prepared = ((points / 255.0 - np.array(inputs.mean)) / np.array(inputs.std)).reshape(len(points), -1)
        logits = prepared @ weights
        return np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1) - logits[range(40), labels]

    fgsm, pgd = (
        losses(attack_images(network, variables, attack, images, labels, 8.0).astype(float))
        for attack in (Attack(), Attack(steps=10, step_size=0.25))
    )
    assert (fgsm >= losses(images.astype(float)) - 1e-6).all()
    assert pgd.mean() >= fgsm.mean() - 1e-6


def test_the_lowering_for_cpu_and_the_native_one_attack_alike(monkeypatch):
    """Convolutions for CPU are this project's own (models/ops): their gradients choose the same signs."""
    network = build_network(get_architecture(TINY), CLASSES, BuildOptions(dtype=jnp.float32))
    variables = network.init(0, 16)
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)
    labels = np.arange(3, dtype=np.int32)
    own = attack_images(network, variables, Attack(), images, labels, 8.0)
    chosen = []
    use_default = lambda *arguments, default, **others: chosen.append(default) or default(*arguments)
    monkeypatch.setattr(jax.lax, "platform_dependent", use_default)
    other = attack_images(network, variables, Attack(), images, labels, 8.0)
    assert chosen
    assert (np.abs(own - other) > 1e-3).mean() < 0.002  # of gradients next to zero the sign is of round-off
