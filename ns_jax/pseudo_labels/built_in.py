"""The built-in selection rules. Those of the paper are the same filter and balance with different scores in [0, 1].

`min_confidence` and `max_confidence` are thresholds of the rule's own score.
"""

import numpy as np

from ns_jax.pseudo_labels.balance import Chooser, filter_and_balance
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.pseudo_labels.rules import SelectionSettings, in_chunks
from ns_jax.pseudo_labels.scores import certainty_of


@in_chunks
def by_confidence(labels: Labels, settings: SelectionSettings) -> Chooser:
    """Scores an image by its highest probability (the paper's rule)."""
    return filter_and_balance(labels, lambda chunk: chunk["confidence"], settings)


@in_chunks
def by_margin(labels: Labels, settings: SelectionSettings) -> Chooser:
    """Scores an image by the difference of its two highest probabilities."""
    return filter_and_balance(labels, lambda chunk: chunk["margin"], settings)


@in_chunks
def by_entropy(labels: Labels, settings: SelectionSettings) -> Chooser:
    """Scores an image by 1 minus the entropy of its probabilities over that of equal ones."""

    def score(chunk: Chunk) -> np.ndarray:
        return certainty_of(chunk["entropy"], labels.num_classes)

    return filter_and_balance(labels, score, settings)
