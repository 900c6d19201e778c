"""Selection rules: how often a student sees each pseudo-labeled image in an epoch.

A rule is a function (PseudoLabels, SelectionSettings) -> uint32 [N] copies, 0 for images that are left out. NumPy only.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from ns_jax.errors import UserError
from ns_jax.registry import Registry

# {name: rule}; a rule of one's own is named by its import path.
SELECTION_RULES = Registry(
    "selection rule",
    {
        "confidence": "ns_jax.pseudo_labels.scores:by_confidence",
        "margin": "ns_jax.pseudo_labels.scores:by_margin",
        "entropy": "ns_jax.pseudo_labels.scores:by_entropy",
    },
)


@dataclasses.dataclass(frozen=True)
class SelectionSettings:
    """The fields of a config that rules read; see configs/common.py.

    Attributes:
      min_confidence: threshold, exclusive.
      max_confidence: threshold from above, inclusive (the study of soft and hard labels by confidence); 1 drops none.
      images_per_class: of every class, after duplication; 0 keeps every image above the threshold once.
      balance: 'equal', or 'prior': images_per_class is the mean of all classes, and each has its part in proportion to
        the mean probability that the teacher gives it.
    """

    min_confidence: float = 0.3
    max_confidence: float = 1.0
    images_per_class: int = 0
    balance: str = "equal"


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """The pseudo-labels of all images, as a rule sees them.

    Attributes:
      ids: byte strings [N].
      label: int32 [N], most probable class.
      confidence: float32 [N], its probability.
      random: uint64 [N], one number an image, see `draw_by_id`; breaks ties and draws images.
      num_classes: labels are below it.
      probabilities: begins a pass over the probabilities of all images in this order, in parts float32 [n, classes]:
        all at once they may not fit into memory. They are stored as float16.
    """

    ids: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    random: np.ndarray
    num_classes: int
    probabilities: Callable[[], Iterator[np.ndarray]]


def apply_rule(name: str, labels: PseudoLabels, settings: SelectionSettings) -> np.ndarray:
    """Asks the rule called `name` for the number of copies of each image, uint32 [N].

    Args:
      name: of SELECTION_RULES, or 'package.module:function'.
      labels: of N images.
      settings: of the config.

    Raises:
      UserError: there is no such rule, or it returns anything but N integers from 0 to 2**32 - 1; names the rule.
    """
    copies = np.asarray(SELECTION_RULES.get(name)(labels, settings))
    where = f"selection rule {name!r}: "
    if copies.shape != (len(labels.ids),):
        raise UserError(
            f"{where}returns shape {list(copies.shape)}, not one number for each of {len(labels.ids)} images"
        )
    if not np.issubdtype(copies.dtype, np.integer):
        raise UserError(f"{where}returns {copies.dtype}, not integers: numbers of copies, best uint32")
    if copies.size and (copies.min() < 0 or copies.max() > np.iinfo(np.uint32).max):
        raise UserError(f"{where}returns {copies.min()} to {copies.max()} copies: they must be in 0 .. 2**32 - 1")
    return copies.astype(np.uint32)
