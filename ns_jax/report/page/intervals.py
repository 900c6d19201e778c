"""95 % intervals by the bootstrap: test images are drawn again within each class, with a fixed seed."""

import numpy as np

from ns_jax.evaluators.metrics import scored_classes

DRAWS, SEED = 1000, 0
FEWEST_DRAWS = 200
MAX_WORK = 300_000_000  # draws x images x classes
CHUNK = 4_000_000  # of draws x images that are in memory


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def balanced_accuracy_interval(labels: np.ndarray, answers: np.ndarray, classes: int) -> tuple[float, float]:
    """Interval of the mean recall. Drawing a class's images again makes its right answers a binomial number."""
    support = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == answers], minlength=classes)
    there = support > 0
    support, recall = support[there], right[there] / support[there]
    drawn = np.random.default_rng(SEED).binomial(support, recall, (DRAWS, len(support)))
    return _ends((drawn / support).mean(1))


def auroc_interval(probs: np.ndarray, labels: np.ndarray) -> tuple[float, float] | None:
    """Interval of the AUROC as `classification_metrics` takes it; None where there is none, or too much to compute."""
    chosen = scored_classes(labels, probs.shape[1])
    draws = min(DRAWS, MAX_WORK // max(1, len(labels) * len(chosen)))
    if not chosen or draws < FEWEST_DRAWS:
        return None
    sorted_by = {k: _order_with_ties(probs[:, k]) for k in chosen}
    random, values = np.random.default_rng(SEED), []
    step = max(1, CHUNK // len(labels))
    for start in range(0, draws, step):
        counts = _draw_within_classes(random, labels, min(step, draws - start))
        values.append(np.mean([_auroc(counts, labels == k, *sorted_by[k]) for k in chosen], axis=0))
    return _ends(np.concatenate(values))


def _order_with_ties(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ascending order of scores [N], and where in it each run of equal scores begins."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _draw_within_classes(random: np.random.Generator, labels: np.ndarray, draws: int) -> np.ndarray:
    """How often each image is drawn, float32 [draws, N]: as many of each class as there are."""
    counts = np.zeros((draws, len(labels)), np.float32)
    for k in np.unique(labels):
        members = np.flatnonzero(labels == k)
        counts[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    return counts


def _auroc(counts: np.ndarray, positive: np.ndarray, order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """AUROC of each row of image counts [draws, N]: the share of pairs in order, ties half."""
    weights = np.where(positive, counts, 0)[:, order]
    of_positive = np.add.reduceat(weights, starts, axis=1, dtype=np.float64)
    of_negative = np.add.reduceat(counts[:, order] - weights, starts, axis=1, dtype=np.float64)
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    pairs = of_positive.sum(1) * of_negative.sum(1)
    return (of_positive * below).sum(1) / pairs


def difference_interval(correct: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Interval of the difference of two accuracies on the same images, from bool [N] each."""
    better, worse = (correct & ~other).sum(), (other & ~correct).sum()
    count = len(correct)
    shares = np.array([better, worse, count - better - worse]) / count
    drawn = np.random.default_rng(SEED).multinomial(count, shares, DRAWS)
    return _ends((drawn[:, 0] - drawn[:, 1]) / count)
