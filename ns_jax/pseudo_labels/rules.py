"""Selection rules: how often a student sees each pseudo-labeled image in an epoch.

A rule is a function (PseudoLabels, SelectionSettings) -> uint32 [N] copies, 0 for images that are left out. One that
does not want all images in memory at once is marked `in_chunks`: (Labels, SelectionSettings) -> a function from a chunk
to the copies of its images. NumPy only.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.registry import Registry

# {name: rule}; a rule of one's own is named by its import path.
SELECTION_RULES = Registry(
    "selection rule",
    {
        "confidence": "ns_jax.pseudo_labels.built_in:by_confidence",
        "margin": "ns_jax.pseudo_labels.built_in:by_margin",
        "entropy": "ns_jax.pseudo_labels.built_in:by_entropy",
        "official": "ns_jax.pseudo_labels.official:by_thinning",
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
    """The pseudo-labels of all images in memory, 16 bytes an image, as a rule of one's own sees them.

    Attributes:
      label: int32 [N], most probable class.
      confidence: float32 [N], its probability.
      random: uint64 [N], one number an image, see `ns_jax/pseudo_labels/draws.py`; breaks ties and draws images.
      num_classes: labels are below it.
      probabilities: begins a pass over the probabilities of all images in this order, in parts float32 [n, classes]:
        all at once they may not fit into memory. They are stored as float16.
      read_ids: reads `ids`.
    """

    label: np.ndarray
    confidence: np.ndarray
    random: np.ndarray
    num_classes: int
    probabilities: Callable[[], Iterator[np.ndarray]]
    read_ids: Callable[[], np.ndarray]

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Byte strings [N]; read when they are asked for."""
        return self.read_ids()


Rule = Callable[[Labels, SelectionSettings], Callable[[Chunk], np.ndarray]]


def in_chunks(rule: Rule) -> Rule:
    """Marks a rule that reads `Labels`, chunk by chunk, and returns what chooses among the images of a chunk.

    Chunks may be read by several threads at once, and any number of times.
    """
    rule.in_chunks = True  # type: ignore[attr-defined]
    return rule


def apply_rule(name: str, labels: Labels, settings: SelectionSettings) -> Callable[[Chunk], np.ndarray]:
    """Asks the rule called `name` for what chooses: from a chunk to the number of copies of each image, uint32 [n].

    Args:
      name: of SELECTION_RULES, or 'package.module:function'.
      labels: of N images.
      settings: of the config.

    Raises:
      UserError: there is no such rule, or it returns anything but an integer from 0 to 2**32 - 1 for each image; names
        the rule. What chooses raises the same.
    """
    rule = SELECTION_RULES.get(name)
    if getattr(rule, "in_chunks", False):
        choose = rule(labels, settings)
        return lambda chunk: _checked(name, choose(chunk), len(chunk))
    whole = _whole(labels)
    copies = _checked(name, rule(whole, settings), len(whole.label))
    return lambda chunk: copies[chunk.start : chunk.start + len(chunk)]


def _whole(labels: Labels) -> PseudoLabels:
    """All pseudo-labels in memory."""
    parts = list(labels.map(lambda chunk: (chunk["label"], chunk["confidence"], chunk.random())))
    label, confidence, random = (np.concatenate(columns) for columns in zip(*parts, strict=True))

    def probabilities() -> Iterator[np.ndarray]:
        for read in labels.parts:
            yield from read().probabilities()

    return PseudoLabels(label.astype(np.int32), confidence, random, labels.num_classes, probabilities, labels.read_ids)


def _checked(name: str, copies: np.ndarray, count: int) -> np.ndarray:
    """What a rule returns, as uint32 [count]."""
    copies = np.asarray(copies)
    where = f"selection rule {name!r}: "
    if copies.shape != (count,):
        raise UserError(f"{where}returns shape {list(copies.shape)}, not one number for each of {count} images")
    if not np.issubdtype(copies.dtype, np.integer):
        raise UserError(f"{where}returns {copies.dtype}, not integers: numbers of copies, best uint32")
    if copies.size and (copies.min() < 0 or copies.max() > np.iinfo(np.uint32).max):
        raise UserError(f"{where}returns {copies.min()} to {copies.max()} copies: they must be in 0 .. 2**32 - 1")
    return copies.astype(np.uint32)
