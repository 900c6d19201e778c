"""Selective accuracy: how often the answers are right that a model is surest of (El-Yaniv and Wiener 2010)."""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.evaluators.classification import labels_among
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import gather_rows

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options) -> dict:
    """Measures risk against coverage.

    Args:
      predictor: of the model.
      source: labeled; its classes are some of the model's.
      indices: of its readable examples.
      options: none of its own.

    Returns:
      {count, aurc, coverages, risks (share of wrong answers among the surest), accuracy_at_50, accuracy_at_80,
      accuracy_at_100}; aurc is the mean risk over all coverages (Geifman et al. 2019), lower is better.

    Raises:
      UserError: the model lacks a class of the source.
    """
    del options
    place_of_label, rows = labels_among(source, predictor.class_names), []
    for probs, labels, places in predictor.every_example(source, indices):
        is_right = probs.argmax(1) == place_of_label[labels]
        rows.append(np.column_stack([places, probs.max(1), is_right]).astype(np.float64))
    gathered = gather_rows(np.concatenate(rows))
    gathered = gathered[np.argsort(gathered[:, 0], kind="stable")]  # in the order of the source, for any hosts
    risks = risk_at_each_coverage(gathered[:, 1], gathered[:, 2] > 0)
    at = {coverage: float(risks[max(1, round(coverage * len(risks))) - 1]) for coverage in COVERAGES}
    return {
        "count": len(risks),
        "aurc": float(risks.mean()),
        "coverages": list(at),
        "risks": list(at.values()),
        "accuracy_at_50": 1 - at[0.5],
        "accuracy_at_80": 1 - at[0.8],
        "accuracy_at_100": 1 - at[1.0],
    }


def risk_at_each_coverage(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Share of wrong answers among the n surest, n from 1 to N: float64 [N].

    Of images that are equally sure the order says nothing: each counts with the mean of all of them.

    Args:
      confidence: float [N].
      correct: bool [N], whether the answer is right.
    """
    order = np.argsort(-confidence, kind="stable")
    _, group, sizes = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    wrong = np.bincount(group, ~correct[order]) / sizes
    return np.cumsum(wrong[group]) / np.arange(1, len(order) + 1)
