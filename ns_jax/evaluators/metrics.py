"""What class probabilities are worth: a pure function from probabilities and labels to numbers."""

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

BINS = 15  # of the calibration error
MAX_CONFUSION_CLASSES = 50


def classification_metrics(probs: np.ndarray, labels: np.ndarray) -> dict:
    """Measures a classifier by the probabilities that it gives.

    The answer is the first class of the highest probability. Classes without a test image are left out of the means
    (balanced accuracy, AUROC, average precision) and have recall 0 in `per_class`.

    Args:
      probs: float32 [N, classes], each row adds up to 1.
      labels: int [N].

    Returns:
      balanced_accuracy: mean recall.
      macro_f1: mean F1 of the classes that occur as label or as answer.
      auroc: area under the ROC curve, mean of each class against the rest; of two classes that of class 1. None where
        there is but one class.
      average_precision: in the same way; None where class 1 of two has no image.
      ece: expected calibration error, see `calibration_bins`.
      brier: mean squared distance of probabilities and label, summed over the classes.
      per_class: lists precision, recall, f1 and support (images), in the order of the classes.
      confusion: [label][answer], images; only up to 50 classes.
    """
    classes = probs.shape[1]
    answers = probs.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, answers, labels=np.arange(classes), zero_division=0
    )
    bins = calibration_bins(probs.max(1), answers == labels)
    measured = {
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_f1": float(f1_score(labels, answers, average="macro", zero_division=0)),
        "auroc": mean_over_classes(roc_auc_score, probs, labels),
        "average_precision": mean_over_classes(average_precision_score, probs, labels),
        "ece": expected_calibration_error(bins),
        "brier": brier_score(probs, labels),
        "per_class": {
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "f1": f1.tolist(),
            "support": support.tolist(),
        },
    }
    if classes <= MAX_CONFUSION_CLASSES:
        measured["confusion"] = confusion_matrix(labels, answers, labels=np.arange(classes)).tolist()
    return measured


def scored_classes(labels: np.ndarray, classes: int) -> list[int]:
    """Classes that have images and do not have all of them; of two classes only class 1."""
    support = np.bincount(labels, minlength=classes)
    candidates = [1] if classes == 2 else range(classes)
    return [k for k in candidates if 0 < support[k] < len(labels)]


def mean_over_classes(score, probs: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of score(is of the class, its probability) over `scored_classes`; None where there are none."""
    chosen = scored_classes(labels, probs.shape[1])
    if not chosen:
        return None
    return float(np.mean([score(labels == k, probs[:, k]) for k in chosen]))


def brier_score(probs: np.ndarray, labels: np.ndarray) -> float:
    """Mean over images of the sum over classes of (probability - 1 or 0)^2, in [0, 2]."""
    of_label = probs[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nk,nk->n", probs, probs, dtype=np.float64)
    return float(np.mean(squares - 2 * of_label + 1))


def calibration_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Groups images by confidence, in `bins` equal intervals of [0, 1] that hold their upper end.

    Args:
      confidence: float [N], highest probability.
      correct: bool [N], whether the answer is right.
      bins: number of intervals.

    Returns:
      count int64, confidence and accuracy float64 (means; 0 where a bin is empty), [bins] each.
    """
    place = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    mean = lambda values: np.bincount(place, values, bins) / np.maximum(count, 1)
    return {"count": count, "confidence": mean(confidence), "accuracy": mean(correct)}


def expected_calibration_error(bins: dict[str, np.ndarray]) -> float:
    """Mean distance of accuracy and confidence, bins weighted by their images (Naeini et al. 2015)."""
    share = bins["count"] / max(1, bins["count"].sum())
    return float((share * np.abs(bins["accuracy"] - bins["confidence"])).sum())


def apply_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """probs ** (1 / temperature), normalised: what softmax(logits / temperature) gives. float32 [N, classes]."""
    logs = np.log(np.maximum(probs.astype(np.float64), 1e-30)) / temperature
    powers = np.exp(logs - logs.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)
