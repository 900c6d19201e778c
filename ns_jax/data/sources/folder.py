"""Source 'folder:PATH': one sub-folder per class, or images without sub-folders (no labels)."""

import hashlib
import os

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import IMAGE_SUFFIXES, Source
from ns_jax.errors import UserError


def _image_files(folder: str) -> list[str]:
    """Names of the image files in a folder, sorted."""
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_file() and entry.name.lower().endswith(IMAGE_SUFFIXES)
    )


def _class_folders(path: str) -> list[str]:
    """Names of the sub-folders, sorted; hidden ones are left out."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _files_and_labels(path: str, classes: list[str]) -> tuple[list[str], list[int]]:
    """Paths of the images relative to the folder, and their labels (-1 without classes)."""
    if not classes:
        files = _image_files(path)
        return files, [-1] * len(files)
    if _image_files(path):
        raise UserError(
            f"folder:{path}: it holds both images and sub-folders ({classes[0]!r}); it is either one "
            "sub-folder per class, or images without labels"
        )
    files, labels = [], []
    for label, name in enumerate(classes):
        inside = _image_files(os.path.join(path, name))
        if not inside:
            raise UserError(f"folder:{path}: no images in it for class {name!r}")
        files += [os.path.join(name, file) for file in inside]
        labels += [label] * len(inside)
    return files, labels


def _stamp(path: str, files: list[str]) -> str:
    """SHA-256 of the files' sizes and modification times."""
    stats = [os.stat(os.path.join(path, file)) for file in files]
    return hashlib.sha256(repr([(stat.st_size, stat.st_mtime_ns) for stat in stats]).encode()).hexdigest()


def open_folder(path: str, data_dir: str) -> Source:
    """Opens a folder of images as it is now; `data_dir` is not used.

    Raises:
      UserError: there is no such folder, it holds no images or a class without any, or both images and sub-folders.
    """
    del data_dir
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise UserError(f"folder:{path}: there is no such folder")
    classes = _class_folders(path)
    files, labels = _files_and_labels(path, classes)
    if not files:
        raise UserError(
            f"folder:{path}: no images in it ({', '.join(IMAGE_SUFFIXES)}); put them "
            "into one sub-folder per class, or straight into it if they have no labels"
        )
    ids = np.array([os.fsencode(file) for file in files])
    paths = tf.constant([os.fsencode(os.path.join(path, file)) for file in files])
    targets = tf.constant(labels, tf.int32)

    def encoded(index):
        return tf.io.read_file(paths[index])

    def load(index, window=None):
        return decode_image(encoded(index), window), targets[index]

    return Source(
        name=f"folder:{path}",
        count=len(files),
        class_names=tuple(classes),
        load=load,
        ids=lambda indices: ids[indices],
        stamp=_stamp(path, files),
        may_be_broken=True,
        encoded=encoded,
    )
