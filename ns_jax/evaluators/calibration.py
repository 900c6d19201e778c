"""Temperature scaling (Guo et al. 2017), and the confidence above which answers are right often enough."""

import numpy as np
from scipy.optimize import minimize_scalar

from ns_jax.evaluators.metrics import apply_temperature

LIMITS = (0.1, 10.0)  # of a temperature


def fit_temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T for which softmax(logits / T) has the lowest cross-entropy on some images.

    Few images that are all answered right would fit any small T. So ln T has a normal prior of mean 0 and standard
    deviation 1, which counts as much as half an image whose cross-entropy is (ln T)^2.

    Args:
      probs: float32 [N, classes] of T = 1.
      labels: int [N].
    """

    def cost(log_temperature: float) -> float:
        calibrated = apply_temperature(probs, float(np.exp(log_temperature)))
        return cross_entropies(calibrated, labels).sum() + log_temperature**2 / 2

    best = minimize_scalar(cost, bounds=np.log(LIMITS), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(best.x))


def cross_entropies(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log of the label's probability, float64 [N]."""
    return -np.log(np.maximum(probs[np.arange(len(labels)), labels].astype(np.float64), 1e-30))


def confidence_for_precision(probs: np.ndarray, labels: np.ndarray, precision: float) -> float | None:
    """The lowest confidence from which on at least such a share of the answers is right.

    Args:
      probs: float32 [N, classes], calibrated.
      labels: int [N].
      precision: in (0, 1).

    Returns:
      A number just below the confidence of the least sure image that may be kept, to be exceeded; 0 where all may;
      None where not even the surest are right so often.
    """
    confidence, is_right = probs.max(1), probs.argmax(1) == labels
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(is_right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(shares >= precision)
    if not len(enough):
        return None
    last = enough[-1]
    return 0.0 if last == len(order) - 1 else float(confidence[order[last + 1]])
