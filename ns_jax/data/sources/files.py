"""What the sources of image files have in common."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ns_jax import buckets
from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import IMAGE_SUFFIXES, Source

MAX_NAMED = 3  # files that a note names


def stamp_of(paths: Sequence[str]) -> str:
    """SHA-256 of the files' sizes and modification times."""
    stats = [os.stat(path) for path in paths]
    return hashlib.sha256(repr([(stat.st_size, stat.st_mtime_ns) for stat in stats]).encode()).hexdigest()


def source_of_files(
    name: str,
    paths: Sequence[str],
    ids: Sequence[str],
    labels: Sequence[int],
    class_names: Sequence[str],
    stamp: str = "",
    **known,
) -> Source:
    """A source of image files, all of them on this machine's file systems or all in buckets.

    Args:
      name: of the source.
      paths: of the files.
      ids: of the examples, as text.
      labels: positions in `class_names`, -1 where there is none.
      class_names: in order.
      stamp: see `Source`; '' for that of the files, which must be asked for one by one.
      **known: other attributes of the source.
    """
    id_table = np.array([os.fsencode(text) for text in ids])
    path_table, targets = tf.constant([os.fsencode(path) for path in paths]), np.array(labels, np.int32)
    target_table = tf.constant(targets)

    def encoded(index):
        if not paths or not buckets.is_bucket(paths[0]):
            return tf.io.read_file(path_table[index])
        content = tf.numpy_function(buckets.read_image, [path_table[index]], tf.string, stateful=False)
        content.set_shape([])
        return content

    def load(index, window=None):
        return decode_image(encoded(index), window), target_table[index]

    return Source(
        name=name,
        count=len(paths),
        class_names=tuple(class_names),
        load=load,
        ids=lambda indices: id_table[indices],
        stamp=stamp or stamp_of(paths),
        may_be_broken=True,
        encoded=encoded,
        labels=targets,
        **known,
    )


def printable(name: str) -> str:
    """A file's name on one line, without the bytes that are no text."""
    return " ".join(os.fsencode(name).decode(errors="replace").split())


def note_of_others(root: str, files: Sequence[str]) -> tuple[str, ...]:
    """What to say of files below a folder that are no images: how many, of which kinds, the first names.

    () where there are none.
    """
    if not files:
        return ()
    kinds: dict[str, int] = {}
    for file in files:
        kind = kind_of_file(os.path.join(root, file))
        kinds[kind] = kinds.get(kind, 0) + 1
    by_count = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{count} {kind}" for kind, count in by_count)
    names = first_names(files)
    are = "file is no image" if len(files) == 1 else "files are no images"
    return (f"{len(files)} {are} and left out ({counts}): {names}",)


def kind_of_file(path: str) -> str:
    """What a file is that is no image: its suffix, or that it is a link to nothing, a pipe or a device."""
    if os.path.isfile(path):
        return os.path.splitext(path)[1].lower() or "without suffix"
    return "pipe or device" if os.path.exists(path) else "link to nothing"


def first_names(files: Sequence[str]) -> str:
    """The first MAX_NAMED of some files' names."""
    return ", ".join(printable(file) for file in files[:MAX_NAMED]) + (", ..." if len(files) > MAX_NAMED else "")


def is_image(path: str) -> bool:
    """Whether a path ends as an image does, and is a file or a link to one."""
    return path.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(path)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Distinct class names in order: whole numbers by value, anything else by text."""
    distinct = set(names)
    if all(name.isascii() and name.isdecimal() for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))
