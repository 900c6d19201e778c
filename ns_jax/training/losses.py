"""Cross-entropies of the noisy student. All float32, probabilities and logits [N, classes]."""

import dataclasses

import jax
import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """The fields of a config's section Loss.

    Attributes:
      label_smoothing: of labels and of hard pseudo-labels.
      pseudo_label: 'soft' or 'hard'.
      temperature: of soft pseudo-labels.
      reduction: 'paper' or 'official', see `combine`.
      labeled_sample_prob: share of the labeled batch that counts.
      logit_adjustment: added to the logits of labeled images, see `adjusted`; () adds nothing.
      min_confidence: pseudo-labels that are less sure have no weight; 0: all have.
      weight: of pseudo-labels: 'equal', or 'confidence'.
    """

    label_smoothing: float = 0.1
    pseudo_label: str = "soft"
    temperature: float = 1.0
    reduction: str = "paper"
    labeled_sample_prob: float = 1.0
    logit_adjustment: tuple[float, ...] = ()
    min_confidence: float = 0.0
    weight: str = "equal"


def smoothed_labels(labels: jax.Array, num_classes: int, smoothing: float) -> jax.Array:
    """int [N] to one-hot * (1 - smoothing) + smoothing / classes."""
    return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), smoothing)


def pseudo_targets(probs: jax.Array, settings: LossSettings) -> jax.Array:
    """Targets from the teacher's probabilities.

    Soft: probs ** (1 / temperature), normalised. Hard: the most probable class, smoothed like a label (official code).
    """
    if settings.pseudo_label == "hard":
        return smoothed_labels(probs.argmax(-1), probs.shape[-1], settings.label_smoothing)
    # Also undoes the float16 rounding of stored probabilities, which need not sum to 1.
    return jax.nn.softmax(jnp.log(jnp.maximum(probs, 1e-20)) / settings.temperature)


def weighted(losses: jax.Array, probs: jax.Array, settings: LossSettings) -> jax.Array:
    """Losses [N] of pseudo-labeled images, each times its weight: 0 where the teacher is too unsure.

    Args:
      losses: of each image.
      probs: the teacher's, [N, classes].
      settings: see `LossSettings`.
    """
    confidence = probs.max(-1)
    if settings.weight == "confidence":
        losses = losses * confidence
    if settings.min_confidence:
        losses = jnp.where(confidence >= settings.min_confidence, losses, 0.0)
    return losses


def adjusted(logits: jax.Array, adjustment: tuple[float, ...]) -> jax.Array:
    """Logits with tau * log prior of each class added: the logit-adjusted loss of Menon et al., 2021 (equation 10).

    What is learned then treats classes alike, although some have more images.
    """
    if not adjustment:
        return logits
    return logits.astype(jnp.float32) + jnp.asarray(adjustment, jnp.float32)[None]


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """float32 [N], of each example."""
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), targets)


def combine(labeled: jax.Array, unlabeled: jax.Array, reduction: str, labeled_sample_prob: float = 1.0) -> jax.Array:
    """Per-example losses [L] and [U], one of them possibly empty, to the scalar that is minimised.

    'paper': the mean over the concatenation. 'official': mean labeled + U / L * mean unlabeled, as the official code
    weights them (its gradient is (L + U) / L times larger). Where labeled images are sampled (their losses are 0 but
    for a share of `labeled_sample_prob`), L counts the sampled ones; only the official code's mean labeled is over all
    of them.
    """
    if not labeled.size:
        return unlabeled.mean()
    num_labeled = labeled.size * labeled_sample_prob
    if reduction == "paper":
        return (labeled.sum() + unlabeled.sum()) / (num_labeled + unlabeled.size)
    if labeled_sample_prob < 1:
        return labeled.mean() + unlabeled.sum() / num_labeled
    return (labeled.sum() + unlabeled.sum()) / num_labeled
