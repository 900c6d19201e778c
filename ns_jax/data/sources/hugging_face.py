"""Source 'hf:PATH' or 'hf:PATH:SPLIT': a data set that the package datasets has written with save_to_disk.

The column with the images is the one of its feature type Image, the column with the labels the one of type ClassLabel.
"""

import os

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError


def _import_datasets():
    try:
        import datasets
    except ImportError:
        raise UserError("source 'hf:' needs the package datasets: pip install 'ns_jax[hf]'") from None
    return datasets


def _load(path: str, split: str):
    """The data set in a folder, of `split` where it has several."""
    datasets = _import_datasets()
    if not os.path.isdir(path):
        raise UserError(f"hf:{path}: there is no such folder: name one that save_to_disk has written")
    try:
        content = datasets.load_from_disk(path)
    except Exception as error:  # of files that are missing or damaged
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"hf:{path} is no data set that load_from_disk reads ({reason})") from None
    if isinstance(content, datasets.DatasetDict):
        if split not in content:
            asked = f"no split {split!r}" if split else "several splits"
            raise UserError(
                f"hf:{path} has {asked}: name one, as hf:{path}:{next(iter(content))}; there are {', '.join(content)}"
            )
        return content[split]
    if split:
        raise UserError(f"hf:{path} has no splits: leave out {split!r}")
    return content


def _column_of_type(path: str, features, kind, name: str) -> str | None:
    """The column of a feature type, the one called `name` where there are several; None where there is none."""
    columns = [column for column, feature in features.items() if isinstance(feature, kind)]
    if len(columns) <= 1:
        return columns[0] if columns else None
    if name not in columns:
        raise UserError(
            f"hf:{path} has several columns of type {kind.__name__} ({', '.join(columns)}): rename one to {name!r}"
        )
    return name


def _columns(path: str, features) -> tuple[str, str | None]:
    """The columns of images and of labels; None where the images have no labels."""
    datasets = _import_datasets()
    image = _column_of_type(path, features, datasets.Image, "image")
    known = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())
    if image is None:
        raise UserError(f"hf:{path} has no column of type Image: it has {known}")
    label = _column_of_type(path, features, datasets.ClassLabel, "label")
    for column in ("label", "labels"):
        if label is None and column in features:
            raise UserError(
                f"hf:{path}: the column {column!r} must be of type ClassLabel: "
                f"class_encode_column({column!r}) makes it so; it has {known}"
            )
    return image, label


def open_hugging_face(rest: str, data_dir: str) -> Source:
    """Opens a data set on disk; `data_dir` is not used.

    Raises:
      UserError: datasets is not installed, or there is no such folder, split, or column of images.
    """
    del data_dir
    path, split = os.path.expanduser(rest), ""
    if not os.path.isdir(path) and ":" in path:
        path, _, split = path.rpartition(":")
    content = _load(path, split)
    image, label = _columns(path, content.features)
    datasets = _import_datasets()
    class_names = tuple(content.features[label].names) if label else ()
    labels = np.full(len(content), -1, np.int32)
    if label:
        labels = np.array([-1 if number is None else number for number in content[label]], np.int32)
        if (labels < 0).any():
            raise UserError(
                f"hf:{path}: {(labels < 0).sum()} of {len(labels)} images have no label: keep them in a split of their "
                "own, without the column of labels"
            )
    files = content.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    targets = tf.constant(labels)
    name = os.path.basename(os.path.normpath(path)) + (f":{split}" if split else "")

    def read(index):
        file = files[int(index)][image]
        if file["bytes"] is not None:
            return np.asarray(file["bytes"], object)
        with open(file["path"], "rb") as stream:
            return np.asarray(stream.read(), object)

    def encoded(index):
        stored = tf.numpy_function(read, [index], tf.string, stateful=False)
        stored.set_shape([])
        return stored

    return Source(
        name=f"hf:{rest}",
        count=len(content),
        class_names=class_names,
        load=lambda index, window=None: (decode_image(encoded(index), window), targets[index]),
        ids=lambda indices: np.char.add(f"{name}#".encode(), np.char.mod(b"%d", indices)),
        stamp=getattr(content, "_fingerprint", ""),
        may_be_broken=True,
        encoded=encoded,
        labels=labels,
    )
