"""A source of images in shards: an index to a shard and a place in it, read many at a time."""

import functools
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from ns_jax import buckets
from ns_jax.data.decode import decode_image
from ns_jax.data.read_ahead import ReadAhead
from ns_jax.data.shards.formats import FORMATS
from ns_jax.data.shards.index import Index, Rows, open_index
from ns_jax.data.shards.layout import Layout, read_settings
from ns_jax.data.shards.listing import is_remote, list_shards, split_rest
from ns_jax.data.shards.ranges import Opened
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

KEPT_IN_SEQUENCE = 8  # shards that are open to be read in sequence, each with a buffer


class Records:
    """Records by index, of whichever shard they are in.

    Args:
      source: the source string, for errors.
      index: of the shards.
      skip: int64 [shards], records at the beginning of each that do not belong to the source; None: none.
    """

    def __init__(self, source: str, index: Index, skip: np.ndarray | None = None):
        self._skip = skip
        self._format, self._starts, self._rows = FORMATS[index.kind], index.starts, Rows(index)
        self._opened = Opened(source, index.shards, self._format.open_shard)
        in_sequence = functools.partial(self._format.open_shard, in_sequence=True)
        self._opened_in_sequence = Opened(source, index.shards, in_sequence, KEPT_IN_SEQUENCE)
        self._source, self._shards = source, index.shards

    def locate(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 indices [N] to the number of the shard and the position in it, int64 [N] each."""
        indices = np.asarray(indices, np.int64)
        numbers = np.searchsorted(self._starts, indices, "right") - 1
        return numbers, indices - self._starts[numbers]

    def read(self, indices: np.ndarray, in_sequence: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The records of some indices, bytes objects [N], and their labels int32 [N], -1 where the record has it.

        Args:
          indices: int64 [N].
          in_sequence: whether they are many that lie near each other.

        Raises:
          UserError: a shard was replaced or cannot be read.
        """
        numbers, positions = self.locate(indices)
        if self._skip is not None:
            positions = positions + self._skip[numbers]
        records, labels = np.full(len(numbers), b"", object), np.full(len(numbers), -1, np.int32)
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            opened = (self._opened_in_sequence if in_sequence else self._opened)[number]
            try:
                some, numbers_of_classes = self._format.read(opened, self._rows[number], positions[places])
            except Exception as error:  # of the file system, of ArrayRecord's reader, or of a bucket's client
                raise self._unreadable(self._shards[number].path, error) from None
            records[places] = some
            if numbers_of_classes is not None:
                labels[places] = numbers_of_classes
        return records, labels

    def _unreadable(self, path: str, error: Exception) -> UserError:
        """The error of a shard that cannot be read."""
        if not is_remote(path):
            return UserError(f"{self._source}: cannot read {path} ({' '.join(str(error).split())[:200]})")
        if isinstance(error, FileNotFoundError):
            explained = UserError(f"{path} was replaced or deleted since it was opened: start again")
        else:
            explained = buckets.explain(error, path) or UserError(f"cannot read {path} ({error})")
        unreadable = UserError(f"{self._source}: {' '.join(str(explained).split())}")
        buckets.failures.note(unreadable)
        return unreadable

    def read_ahead(self, groups: Iterable[np.ndarray], most: int) -> ReadAhead:
        """As `read`, of indices that are foretold, see `ReadAhead`."""
        return ReadAhead(functools.partial(self.read, in_sequence=True), groups, most)

    @property
    def is_far(self) -> bool:
        """Whether reading in sequence is much faster than here and there."""
        return is_remote(self._shards[0].path) or self._format.in_groups


def read_in_graph(read: Callable, indices):
    """As `Records.read`, in a graph: string [N] and int32 [N]."""
    records, labels = tf.numpy_function(read, [indices], [tf.string, tf.int32], stateful=False)
    records.set_shape([None])
    labels.set_shape([None])
    return records, labels


def make_ids(index: Index):
    """Function from int64 indices [N] to byte strings [N]: the shard's name and the position in it, SHARD#POSITION."""
    starts, names = index.starts, [shard.name.encode() for shard in index.shards]

    def ids(indices):
        indices = np.asarray(indices, np.int64)
        numbers = np.searchsorted(starts, indices, "right") - 1
        used, place = np.unique(numbers, return_inverse=True)
        prefixes = np.array([names[number] + b"#" for number in used.tolist()] or [b""])
        return np.char.add(prefixes[place], np.char.mod(b"%d", indices - starts[numbers]))

    return ids


def parse_examples(serialized, layout: Layout, class_names: tuple[str, ...]):
    """Images, as they are encoded, and labels int64 of tf.train.Examples [N], both [N]; '' and -1 where there is none.

    Labels count from 0 on. Without class names nothing is a label.
    """
    features = {layout.image: tf.io.FixedLenFeature([], tf.string, "")}
    if layout.label and class_names:
        kind, missing = (tf.string, "") if layout.label_is_text else (tf.int64, -1)
        features[layout.label] = tf.io.FixedLenFeature([], kind, missing)
    parsed = tf.io.parse_example(serialized, features)
    if layout.label not in features or not layout.label:
        return parsed[layout.image], tf.fill(tf.shape(serialized), tf.constant(-1, tf.int64))
    if layout.label_is_text:
        return parsed[layout.image], _numbers_of(tuple(class_names)).lookup(parsed[layout.label])
    return parsed[layout.image], parsed[layout.label] - layout.first_label


@functools.cache
def _numbers_of(class_names: tuple[str, ...]):
    """Table from names to numbers of classes; -1 for any other name."""
    with tf.init_scope():
        values = tf.range(len(class_names), dtype=tf.int64)
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(list(class_names), values), -1)


def checked_labels(name: str, labels, indices, num_classes: int):
    """Labels [N] as int32; TensorFlow's error names the source, the first index and its label where one is no class."""
    labels = tf.cast(labels, tf.int64)
    if num_classes:
        is_wrong = (labels < 0) | (labels >= num_classes)
        place = tf.argmax(is_wrong)
        message = f"UserError: {name}: a label is none of the {num_classes} classes (index, label counted from 0)"
        check = tf.debugging.Assert(~tf.reduce_any(is_wrong), [message, indices[place], labels[place]])
        with tf.control_dependencies([check] if check is not None else []):
            labels = tf.identity(labels)
    return tf.cast(labels, tf.int32)


def open_shards(kind: str, rest: str, cache_dir: str = "") -> Source:
    """Opens the images of shards. The cost is that of listing them, and once of learning how many images each has.

    Args:
      kind: arrayrecord, tfrecord, wds or parquet.
      rest: GLOB or GLOB:KEY=VALUE,..., see `ns_jax/data/shards/layout.py`.
      cache_dir: where what was learned is kept if not beside the shards.

    Raises:
      UserError: there are no such files, some are missing or damaged, or their layout is unknown.
    """
    name = f"{kind}:{rest}"
    pattern, options = split_rest(kind, rest)
    shards = list_shards(name, pattern)
    folder = shards[0].path[: len(shards[0].path) - len(shards[0].name)]
    settings = read_settings(name, folder, options)
    of_records = {key: settings[key] for key in ("image", "label", "first_label") if key in settings}
    index = open_index(name, kind, pattern, shards, of_records, cache_dir)
    return source_of_index(name, index, settings)


def source_of_index(name: str, index: Index, settings: dict) -> Source:
    """A source of an opened index; `settings` see `read_settings`."""
    layout = Layout(**index.facts["layout"]) if index.facts["layout"] is not None else None
    has_labels, notes = index.facts["has_labels"], []
    class_names = tuple(settings.get("class_names") or index.facts["class_names"]) if has_labels else ()
    if has_labels and not class_names:
        notes.append(
            "its labels are not read, because the classes have no names: add classes=FILE (a name a line) or "
            "classes=NUMBER to the source, as GLOB:classes=1000"
        )
    records = Records(name, index)
    num_classes = len(class_names)

    def read_many(indices, read=records.read):
        images, labels = read_in_graph(read, indices)
        if layout is not None:
            images, labels = parse_examples(images, layout, class_names)
        elif not num_classes:
            labels = tf.fill(tf.shape(labels), tf.constant(-1, tf.int32))
        else:
            labels -= max(settings["first_label"], 0)
        return images, checked_labels(name, labels, indices, num_classes)

    def load(index, window=None):
        content, label = read_many(index[None])
        return decode_image(content[0], window), label[0]

    return Source(
        name=name,
        count=index.count,
        class_names=class_names,
        load=load,
        ids=make_ids(index),
        stamp=index.identity,
        may_be_broken=not settings.get("checked", False),
        encoded=lambda index: read_many(index[None])[0][0],
        notes=tuple(notes),
        identity=index.identity,
        read_many=read_many,
        decode=decode_image,
        shard_starts=index.starts,
        read_ahead=records.read_ahead if records.is_far else None,
    )
