"""Source 'tfds:NAME/SPLIT' or 'tfds:NAME/CONFIG/SPLIT': a data set of TensorFlow Datasets.

NAME may end in a version (NAME:1.0.0/SPLIT, NAME/CONFIG:1.0.0/SPLIT); SPLIT is in the notation of TFDS, as
train[:10%]. A data set that is not on the disk is downloaded and prepared.
"""

import dataclasses
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image
from ns_jax.data.shards.index import Index
from ns_jax.data.shards.layout import Layout
from ns_jax.data.shards.listing import shard_of
from ns_jax.data.shards.source import Records, parse_examples, read_in_graph
from ns_jax.data.sources.base import Part, Source
from ns_jax.errors import UserError


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _check_configuration(name: str, dataset: str) -> None:
    """Raises UserError, with those that there are, if `dataset`, NAME/CONFIG[:VERSION], names no configuration."""
    import tensorflow_datasets as tfds

    title, slash, configuration = dataset.partition(":")[0].partition("/")
    known = [config.name for config in tfds.builder_cls(title).BUILDER_CONFIGS]
    if slash and configuration not in known:
        raise UserError(
            f"tfds:{name}: {title} has no configuration {configuration!r}; there are {', '.join(known) or 'none'}"
        )


def _make_builder(name: str, dataset: str, data_dir: str):
    """The builder of `dataset`, NAME[/CONFIG][:VERSION]; nothing is downloaded yet."""
    import tensorflow_datasets as tfds

    try:
        # ArrayRecord files can be read by index.
        return tfds.builder(dataset, data_dir=data_dir or None, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        raise UserError(f"tfds:{name}: TensorFlow Datasets has no data set {dataset!r}") from None
    except (AssertionError, KeyError, TypeError, ValueError) as error:  # no such configuration or version
        _check_configuration(name, dataset)
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
    if "image" not in features:
        raise UserError(f"tfds:{name}: needs the feature image; the data set has {', '.join(features)}")


def label_feature(features) -> str:
    """The feature with the label: `label`, else the only one that is a class, as in imagenet2012_real; '' for none."""
    import tensorflow_datasets as tfds

    if "label" in features:
        return "label"
    classes = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    return classes[0] if len(classes) == 1 else ""


def _class_names(features) -> tuple[str, ...]:
    """Names of the classes; () where images have no label that is a class."""
    label = label_feature(features)
    return tuple(getattr(features[label], "names", None) or ()) if label else ()


def _several_labels(features) -> str:
    """The feature with all right labels of an image, a sequence of classes, as ReaL's; '' where there is none."""
    import tensorflow_datasets as tfds

    for name, feature in features.items():
        inner = feature.feature if isinstance(feature, tfds.features.Sequence) else None
        if isinstance(inner, tfds.features.ClassLabel):
            return name
    return ""


def _prepared_files(name: str, split: str, builder) -> list:
    """Prepares the data set; the files of a split, each with which of its records are in it (skip, take).

    The records are read as they are stored, and parsed by TensorFlow, many at a time: TFDS's own reader takes ten
    times as long for an image.
    """
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
        return builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"tfds:{name}: cannot read split {split!r} ({reason}); there are {', '.join(builder.info.splits)}"
        ) from None


def open_tfds(name: str, data_dir: str) -> Source:
    """Opens a split of a TFDS data set, which is kept in `data_dir` (empty: TFDS's own default).

    Raises:
      UserError: there is no such data set, configuration, version or split, the data set cannot be prepared, or it
        lacks the feature image. One without labels of classes is a source of unlabeled images.
    """
    dataset, split = _split_name(name)
    builder = _make_builder(name, dataset, data_dir)
    _check_split_is_no_configuration(name, dataset, split, builder)
    _check_features(name, builder.info.features)
    files = _prepared_files(name, split, builder)
    ids = lambda indices: np.char.add(f"{name}#".encode(), np.char.mod(b"%d", indices))
    return source_of_files(f"tfds:{name}", builder.info.features, files, ids)


def prepared(name: str, data_dir: str) -> tuple | None:
    """(features, files) of a split as of `open_tfds`, for `source_of_files`; None where it is not on the disk."""
    dataset, split = _split_name(name)
    builder = _make_builder(name, dataset, data_dir)
    if not builder.data_path.exists():
        return None
    return builder.info.features, _prepared_files(name, split, builder)


def source_of_files(name: str, features, files: list, ids: Callable, parts: tuple[Part, ...] = ()) -> Source:
    """The images of files of TFDS, one file after the other.

    Args:
      name: the source string.
      features: of the data set.
      files: see `_prepared_files`.
      ids: see `Source`.
      parts: see `Source`.
    """
    class_names, several = _class_names(features), _several_labels(features)
    layout = Layout("image", label_feature(features) if class_names else "")
    index = Index(
        kind="arrayrecord",
        shards=[shard_of(str(file.filename)) for file in files],
        counts=np.array([file.take for file in files], np.int64),
        facts={"layout": dataclasses.asdict(layout), "class_names": class_names, "has_labels": bool(class_names)},
        rows=None,
    )
    records = Records(name, index, np.array([file.skip for file in files], np.int64))
    shape = features["image"].shape  # None where images differ

    def read_many(indices, read=records.read):
        serialized, _ = read_in_graph(read, indices)
        images, labels = parse_examples(serialized, layout, class_names)
        return images, tf.cast(labels, tf.int32)

    def decode(content, window=None):
        image = decode_image(content, window)
        if window is None:
            image.set_shape([*shape[:2], 3])
        return image

    def load(index, window=None):
        content, label = read_many(index[None])
        return decode(content[0], window), label[0]

    def right_labels(indices):
        names = features[several].feature.names
        serialized, _ = records.read(indices)
        return [tuple(names[number] for number in numbers_in(record, several)) for record in serialized]

    return Source(
        name=name,
        count=index.count,
        class_names=class_names,
        load=load,
        ids=ids,
        encoded=lambda index: read_many(index[None])[0][0],
        read_many=read_many,
        decode=decode,
        shard_starts=index.starts,
        read_ahead=records.read_ahead if records.is_far else None,
        parts=parts,
        right_labels=right_labels if several else None,
    )


def numbers_in(record: bytes, feature: str) -> list[int]:
    """The whole numbers in a feature of a tf.train.Example."""
    return list(tf.train.Example.FromString(record).features.feature[feature].int64_list.value)
