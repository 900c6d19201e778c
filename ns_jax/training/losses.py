"""Cross-entropies of the noisy student. All float32, probabilities and logits [N, classes]."""

import jax
import jax.numpy as jnp


def smoothed_labels(labels, num_classes: int, smoothing: float):
    """int [N] to one-hot * (1 - smoothing) + smoothing / classes."""
    return jax.nn.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes


def pseudo_targets(probs, config):
    """Targets from the teacher's probabilities.

    Soft: probs ** (1 / temperature), normalised. Hard: the most probable class, smoothed like a
    label (official code).
    """
    if config.pseudo_label == "hard":
        return smoothed_labels(probs.argmax(-1), probs.shape[-1], config.label_smoothing)
    # Also undoes the float16 rounding of stored probabilities, which need not sum to 1.
    return jax.nn.softmax(jnp.log(jnp.maximum(probs, 1e-20)) / config.temperature)


def cross_entropy(logits, targets):
    """[N]: of each example."""
    return -jnp.sum(targets * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def combine(labeled, unlabeled, reduction: str, labeled_sample_prob: float = 1.0):
    """Per-example losses [L] and [U], one of them possibly empty, to the scalar that is minimised.

    'paper': the mean over the concatenation. 'official': mean labeled + U / L * mean unlabeled, as
    the official code weights them (its gradient is (L + U) / L times larger). Where labeled images are
    sampled (their losses are 0 but for a share of `labeled_sample_prob`), L counts the sampled ones;
    only the official code's mean labeled is over all of them.
    """
    if not labeled.size:
        return unlabeled.mean()
    num_labeled = labeled.size * labeled_sample_prob
    if reduction == "paper":
        return (labeled.sum() + unlabeled.sum()) / (num_labeled + unlabeled.size)
    if labeled_sample_prob < 1:
        return labeled.mean() + unlabeled.sum() / num_labeled
    return (labeled.sum() + unlabeled.sum()) / num_labeled
