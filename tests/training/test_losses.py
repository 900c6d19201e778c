import jax.numpy as jnp
import numpy as np
import pytest

from ns_jax.training.losses import LossSettings, adjusted, combine, cross_entropy, pseudo_targets, smoothed_labels
from ns_jax.training.step import data_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
PROBS = RNG.dirichlet(np.ones(4), 6).astype(np.float32)


def numpy_cross_entropy(logits, targets):
    logits = logits.astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -(targets * log_probs).sum(1)


def test_label_smoothing():
    np.testing.assert_allclose(smoothed_labels(jnp.array([1]), 4, 0.1)[0], [0.025, 0.925, 0.025, 0.025], rtol=1e-6)


@pytest.mark.parametrize("temperature", (1.0, 0.5, 2.0))
def test_soft_targets(temperature):
    expected = PROBS.astype(np.float64) ** (1 / temperature)
    expected /= expected.sum(1, keepdims=True)
    targets = pseudo_targets(jnp.asarray(PROBS), LossSettings(temperature=temperature))
    np.testing.assert_allclose(targets, expected, rtol=2e-5)
    np.testing.assert_allclose(
        cross_entropy(jnp.asarray(LOGITS), targets), numpy_cross_entropy(LOGITS, expected), rtol=1e-5
    )


def test_hard_targets_are_smoothed():
    settings = LossSettings(pseudo_label="hard")
    expected = np.full((6, 4), 0.025)
    expected[np.arange(6), PROBS.argmax(1)] = 0.925
    np.testing.assert_allclose(pseudo_targets(jnp.asarray(PROBS), settings), expected, rtol=1e-6)


def test_reductions():
    labeled, unlabeled = jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0, 5.0, 7.0])
    assert float(combine(labeled, unlabeled, "paper")) == pytest.approx(20 / 6)
    assert float(combine(labeled, unlabeled, "official")) == pytest.approx(2 + 2 * 4)
    for reduction in ("paper", "official"):
        assert float(combine(labeled, unlabeled[:0], reduction)) == pytest.approx(2)


def test_reductions_of_sampled_labels():
    """Half of four labeled images are drawn; the two unlabeled ones are a ratio of 1."""
    labeled, unlabeled = jnp.array([1.0, 0.0, 3.0, 0.0]), jnp.array([2.0, 6.0])
    assert float(combine(labeled, unlabeled, "paper", 0.5)) == pytest.approx((4 + 8) / (2 + 2))
    assert float(combine(labeled, unlabeled, "official", 0.5)) == pytest.approx(1 + 1 * 4)
    for reduction in ("paper", "official"):
        assert float(combine(labeled[:0], unlabeled, reduction)) == pytest.approx(4)


def test_logit_adjustment():
    """Logits that are the log prior become those of a model that knows nothing: equal probabilities, adjusted."""
    prior = np.array([0.7, 0.1, 0.1, 0.1], np.float32)
    adjustment = tuple(np.log(prior).tolist())
    shifted = np.asarray(adjusted(jnp.asarray(LOGITS), adjustment))
    np.testing.assert_allclose(shifted, LOGITS + np.log(prior), rtol=1e-6)
    unadjusted = jnp.asarray(LOGITS)
    assert adjusted(unadjusted, ()) is unadjusted
    targets = smoothed_labels(jnp.arange(4), 4, 0.0)
    loss = cross_entropy(adjusted(jnp.zeros((4, 4)), adjustment), targets)
    np.testing.assert_allclose(loss, -np.log(prior), rtol=1e-5)  # a rare class costs more until it is favoured


def test_only_labeled_images_are_adjusted():
    adjustment = (0.0, -1.0, -2.0, 0.0)
    batch = {"label": jnp.array([0, 1, 2]), "probs": jnp.asarray(PROBS[3:])}
    logits = jnp.asarray(LOGITS)
    _, plain = data_loss(logits, batch, LossSettings(), 1)
    _, changed = data_loss(logits, batch, LossSettings(logit_adjustment=adjustment), 1)
    shifted = jnp.concatenate([logits[:3] + jnp.asarray(adjustment)[None], logits[3:]])
    _, expected = data_loss(shifted, batch, LossSettings(), 1)
    np.testing.assert_allclose(changed["labeled_loss"], expected["labeled_loss"], rtol=1e-6)
    assert abs(float(changed["labeled_loss"] - plain["labeled_loss"])) > 0.01
    for metric in ("unlabeled_loss", "accuracy", "teacher_agreement"):
        assert float(changed[metric]) == float(plain[metric])
