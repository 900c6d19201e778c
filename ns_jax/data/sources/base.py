"""The contract of a data source: images, or arrays of any shape, that are read by index.

Reading by index makes the order of training a function of the seed alone: a restart, or another number of processes
or of workers, changes nothing.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

# Of files that are decoded: by TensorFlow, and from WebP on by Pillow.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif")


@dataclasses.dataclass(frozen=True)
class Part:
    """A run of examples of a source that belong together, as those of one corruption at one severity.

    Attributes:
      name: as 'fog/3'.
      start, stop: indices of its examples.
      frames: how many of them, one after the other, show the same image; 1 where each is an image of its own.
    """

    name: str
    start: int
    stop: int
    frames: int = 1


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that is read by index. A source of one's own returns one, or offers the same attributes.

    Those from `encoded` on are optional: a source of one's own may be without them.

    Attributes:
      name: the string that it was opened with.
      count: number of examples.
      class_names: names in the order of the labels; empty where examples have no labels.
      load: TensorFlow graph function, (int64 index, window=None) to (image, int32 label or -1). An image is uint8
        [H, W, 3]; with a window (see ns_jax/data/decode.py) only the part that lies in it. A source for a model
        that takes arrays returns arrays of any shape and dtype, and is never given a window.
      ids: int64 indices [N] to byte strings [N], unique and stable.
      stamp: changes when a file is replaced; empty where files are not read.
      may_be_broken: whether an example may fail to decode (files, as opposed to built data sets).
      encoded: TensorFlow graph function, int64 index to the stored bytes, which `ns_jax.data.decode.decode_image`
        decodes to the image that `load` gives; None where an image is not stored as a file.
      labels: int32 [count], where they are known without reading the images; else None.
      groups: text of each example, [count]: examples of one group are split together; None where there are none.
      weights: float32 [count], how often an example is drawn beside others; None: all alike.
      notes: what a user is to know about it, a sentence each.
      identity: text that changes with the examples; where it is '', `identity_of` makes one of all ids.
      read_many: TensorFlow graph function, int64 indices [N] to (stored bytes, string [N]; int32 labels [N]): one
        call reads many examples. None where they are read one by one.
      decode: TensorFlow graph function, (stored bytes, window=None) to the image that `load` gives. There is one where
        there is a `read_many`.
      right_labels: int64 indices [N] to N tuples of names of classes, all right labels of each image; None where an
        image has one at most.
      parts: in which it is measured, one after the other, see `Part`; () where it is measured as a whole.
      original: the source of whose images the examples are changed copies; None where they are images themselves.
      original_index: int64 [N] of examples to int64 [N], those of their images in `original`.
      with_original: from another source of the same images to the same copies of it, as of images that are turned.
    """

    name: str
    count: int
    class_names: tuple[str, ...]
    load: Callable
    ids: Callable[[np.ndarray], np.ndarray]
    stamp: str = ""
    may_be_broken: bool = False
    encoded: Callable | None = None
    labels: np.ndarray | None = None
    groups: tuple[str, ...] | None = None
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    identity: str = ""
    read_many: Callable | None = None
    decode: Callable | None = None
    right_labels: Callable[[np.ndarray], list[tuple[str, ...]]] | None = None
    parts: tuple[Part, ...] = ()
    original: "Source | None" = None
    original_index: Callable[[np.ndarray], np.ndarray] | None = None
    with_original: "Callable[[Source], Source] | None" = None

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where examples have no labels."""
        return len(self.class_names)


def digest_of_ids(source: Source) -> str:
    """SHA-256 of the ids of all examples in order: of which examples a source is."""
    return hashlib.sha256(b"\0".join(source.ids(np.arange(source.count)).tolist())).hexdigest()


def identity_of(source: Source) -> str:
    """Of which examples a source is: what it says of itself, or else the digest of its ids."""
    return getattr(source, "identity", "") or digest_of_ids(source)


CONTRACT = ("name", "count", "class_names", "num_classes", "load", "ids", "stamp", "may_be_broken")
