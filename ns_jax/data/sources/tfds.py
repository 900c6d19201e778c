"""Source 'tfds:NAME/SPLIT' or 'tfds:NAME/CONFIG/SPLIT': a data set of TensorFlow Datasets.

NAME may end in a version (NAME:1.0.0/SPLIT, NAME/CONFIG:1.0.0/SPLIT); SPLIT is in the notation of TFDS, as
train[:10%]. A data set that is not on the disk is downloaded and prepared.
"""

import sys

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _make_builder(name: str, dataset: str, data_dir: str):
    """The builder of `dataset`, NAME[/CONFIG][:VERSION]; nothing is downloaded yet."""
    import tensorflow_datasets as tfds

    try:
        # ArrayRecord files can be read by index.
        return tfds.builder(dataset, data_dir=data_dir or None, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        raise UserError(f"tfds:{name}: TensorFlow Datasets has no data set {dataset!r}") from None
    except (AssertionError, KeyError, TypeError, ValueError) as error:  # no such configuration or version
        raise UserError(f"tfds:{name}: cannot open {dataset!r} ({_first_line(error)})") from None


def _split_name(name: str) -> tuple[str, str]:
    """Splits NAME[/CONFIG]/SPLIT into the data set and the split."""
    dataset, slash, split = name.rpartition("/")
    if not slash or not dataset or not split:
        raise UserError(f"tfds:{name}: name a split, as in tfds:{name.strip('/')}/train")
    if dataset.count("/") > 1:
        raise UserError(f"tfds:{name}: write tfds:NAME/SPLIT or tfds:NAME/CONFIG/SPLIT")
    return dataset, split


def _check_split_is_no_configuration(name: str, dataset: str, split: str, builder) -> None:
    """Refuses 'NAME/CONFIG' without a split, before the wrong configuration is downloaded."""
    if "/" not in dataset and split in builder.builder_configs:
        raise UserError(
            f"tfds:{name}: {split!r} is a configuration of {dataset}, not a split: name a split too, as in "
            f"tfds:{name}/train"
        )


def _check_features(name: str, features) -> None:
    if not {"image", "label"} <= set(features):
        raise UserError(f"tfds:{name}: needs the features image and label; the data set has {', '.join(features)}")


def _open_records(name: str, split: str, builder):
    """Prepares the data set and opens the records of a split, random access."""
    import tensorflow_datasets as tfds

    if not sys.stdout.isatty():
        tfds.disable_progress_bar()
    try:
        builder.download_and_prepare()
    except Exception as error:  # of the network, of the disk, of a package that a builder needs
        raise UserError(
            f"tfds:{name}: the data set could not be prepared in {builder.data_dir}: {_first_line(error)}"
        ) from error
    try:
        return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"tfds:{name}: cannot read split {split!r} ({reason}); there are {', '.join(builder.info.splits)}"
        ) from None


def open_tfds(name: str, data_dir: str) -> Source:
    """Opens a split of a TFDS data set, which is kept in `data_dir` (empty: TFDS's own default).

    Raises:
      UserError: there is no such data set, configuration, version or split, the data set cannot be prepared, or it
        lacks the features image and label.
    """
    dataset, split = _split_name(name)
    builder = _make_builder(name, dataset, data_dir)
    _check_split_is_no_configuration(name, dataset, split, builder)
    _check_features(name, builder.info.features)
    records = _open_records(name, split, builder)
    shape = builder.info.features["image"].shape  # None where images differ

    def read(index):
        record = records[int(index)]
        return np.asarray(record["image"], object), np.int32(record["label"])

    def read_in_graph(index):
        content, label = tf.numpy_function(read, [index], [tf.string, tf.int32], stateful=False)
        content.set_shape([])
        label.set_shape([])
        return content, label

    def load(index, window=None):
        content, label = read_in_graph(index)
        image = decode_image(content, window)
        if window is None:
            image.set_shape([*shape[:2], 3])
        return image, label

    return Source(
        name=f"tfds:{name}",
        count=len(records),
        class_names=tuple(builder.info.features["label"].names),
        load=load,
        ids=lambda indices: np.char.add(f"{name}#".encode(), np.char.mod(b"%d", indices)),
        encoded=lambda index: read_in_graph(index)[0],
    )
