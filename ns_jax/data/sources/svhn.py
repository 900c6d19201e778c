"""Source 'svhn:SPLIT': Street View House Numbers, cropped to 32 px, as the official proc_svhn.py prepares them.

SPLIT is train (69,257), holdout (the first 4,000 of the shuffled training images), full_train (both), extra (531,131)
or test (26,032). Each image is encoded once as JPEG at quality 100, as in the official records. The files
train_32x32.mat, extra_32x32.mat and test_32x32.mat are read from data.dir, and downloaded to it where they are missing.
"""

import functools
import shutil
import urllib.error
import urllib.request

import numpy as np
import tensorflow as tf
from etils import epath

from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

URL = "http://ufldl.stanford.edu/housenumbers"
DEFAULT_DIR = "~/.cache/ns_jax/svhn"
NUM_HELD_OUT = 4000
SHUFFLE_SEED = 0  # of np.random, before the training images are permuted
FILES = {"train": "train", "holdout": "train", "full_train": "train", "extra": "extra", "test": "test"}


def _local_file(folder: epath.Path, name: str) -> epath.Path:
    """The file `name` in `folder`, downloaded where it is missing.

    Raises:
      UserError: it cannot be downloaded.
    """
    path = folder / name
    if path.exists():
        return path
    unfinished = path.with_name(f"{name}.incomplete")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(f"{URL}/{name}", timeout=60) as response, unfinished.open("wb") as file:
            shutil.copyfileobj(response, file)
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"svhn: {URL}/{name} could not be downloaded to {folder} ({error}): put the file there, or set data.dir to "
            "the folder that holds it"
        ) from None
    unfinished.replace(path)
    return path


@functools.lru_cache(maxsize=1)  # train, holdout and full_train share a file
def _read_mat(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels int32 [N], of which 0 is written as 10.

    Raises:
      UserError: not such a file.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(path)
        images, labels = content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1)
    except (KeyError, ValueError, TypeError, NotImplementedError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"svhn: {path} is no file of the data set ({reason}): delete it to download it again") from None
    return np.ascontiguousarray(images), (labels % 10).astype(np.int32)


def split_indices(split: str, count: int) -> np.ndarray:
    """Positions of the images of `split` among the `count` of its file, int64, ascending."""
    if FILES[split] != "train" or split == "full_train":
        return np.arange(count)
    shuffled = np.arange(count)
    np.random.RandomState(SHUFFLE_SEED).shuffle(shuffled)
    chosen = shuffled[:NUM_HELD_OUT] if split == "holdout" else shuffled[NUM_HELD_OUT:]
    return np.sort(chosen)


def open_svhn(split: str, data_dir: str) -> Source:
    """Opens a split of the house numbers whose files are in `data_dir`, empty: in DEFAULT_DIR.

    Raises:
      UserError: there is no such split, or its file cannot be had.
    """
    if split not in FILES:
        raise UserError(f"svhn has the splits {', '.join(FILES)}, not {split!r}")
    name = f"{FILES[split]}_32x32.mat"
    path = _local_file(epath.Path(data_dir or DEFAULT_DIR).expanduser(), name)
    all_images, all_labels = _read_mat(str(path))
    chosen = split_indices(split, len(all_labels))
    is_whole_file = len(chosen) == len(all_labels)  # extra has 1.6 GB: no copy more than it takes
    images = tf.constant(all_images if is_whole_file else all_images[chosen])
    labels = tf.constant(all_labels[chosen])

    def load(index, window=None):
        encoded = tf.io.encode_jpeg(images[index], format="rgb", quality=100)
        image = decode_image(encoded, window)
        if window is None:
            image.set_shape(images.shape[1:])
        return image, labels[index]

    return Source(
        name=f"svhn:{split}",
        count=len(chosen),
        class_names=tuple(str(digit) for digit in range(10)),
        load=load,
        ids=lambda indices: np.char.add(f"svhn/{FILES[split]}/".encode(), np.char.mod(b"%06d", chosen[indices])),
    )
