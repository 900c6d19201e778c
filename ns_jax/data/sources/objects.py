"""Source 'object:NAME': any Python object with a length and an index, as a data set of PyTorch has them.

It gives an image, or an image and its label. An image is a path, a uint8 array [H, W, 3] or [H, W], or an image of
Pillow; a label is a text or a whole number. An object lives in one process: a run that is continued in another one
registers it again.
"""

import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf

from ns_jax.data import pillow
from ns_jax.data.decode import take
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.files import in_order, source_of_files
from ns_jax.errors import UserError


class Registered(NamedTuple):
    """An object, and the names of its classes where they were given."""

    content: Any
    class_names: tuple[str, ...] | None


_REGISTERED: dict[str, Registered] = {}


def register(name: str, content: Any, class_names: Sequence[str] | None = None) -> str:
    """Makes an object a data source of this process, in place of an earlier one of that name.

    Args:
      name: of letters, digits, '.', '_' and '-'.
      content: has `__len__` and `__getitem__`, see the top of this module.
      class_names: in order; None: the labels that there are, which are all read when the source is opened.

    Returns:
      The source's string, 'object:NAME'.

    Raises:
      UserError: it is no such object, or no such name.
    """
    if not name or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise UserError(f"object {name!r}: a name has letters, digits, '.', '_' and '-'")
    if not hasattr(content, "__len__") or not hasattr(content, "__getitem__"):
        raise UserError(f"object:{name}: {type(content).__name__} has no length and index (__len__ and __getitem__)")
    _REGISTERED[name] = Registered(content, None if class_names is None else tuple(class_names))
    return f"object:{name}"


def _split_item(item: Any) -> tuple[Any, Any]:
    """The image and the label of what an object gives; None without a label."""
    if isinstance(item, tuple | list):
        if len(item) != 2:
            raise ValueError(f"{len(item)} things instead of an image and its label")
        return item[0], item[1]
    return item, None


def _is_path(image: Any) -> bool:
    return isinstance(image, str | os.PathLike)


def _as_array(image: Any) -> np.ndarray:
    """uint8 [H, W, 3] of an image."""
    if isinstance(image, PIL.Image.Image):
        return pillow.to_rgb(image)
    array = np.asarray(image)
    if array.ndim == 2 or array.ndim == 3 and array.shape[-1] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise ValueError(f"{array.dtype} {list(array.shape)} is no image: uint8 [height, width, 3]")
    return array


def _item(name: str, content: Any, index: int) -> tuple[Any, Any]:
    """The image and the label at an index. Raises UserError for whatever goes wrong there."""
    try:
        image, label = _split_item(content[index])
        return image, label
    except Exception as error:  # whatever the object's own code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"object:{name}, number {index}: {reason}") from None


def _class_numbers(name: str, labels: list, class_names: tuple[str, ...] | None) -> tuple[list[int], tuple[str, ...]]:
    """Positions of labels among the class names, and these."""
    is_number = [isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels]
    if all(is_number) and class_names is not None:
        wrong = [int(label) for label in labels if not 0 <= label < len(class_names)]
        if wrong:
            raise UserError(f"object:{name}: the label {wrong[0]} is none of the {len(class_names)} classes")
        return [int(label) for label in labels], class_names
    if not all(number or isinstance(label, str) for number, label in zip(is_number, labels, strict=True)):
        odd = next(label for label in labels if not isinstance(label, str | int | np.integer))
        raise UserError(f"object:{name}: a label is a text or a whole number, and for every image; not {odd!r:.80}")
    texts = [str(label) for label in labels]
    names = class_names if class_names is not None else in_order(texts)
    unknown = [text for text in texts if text not in names]
    if unknown:
        raise UserError(f"object:{name}: the label {unknown[0]!r} is none of the classes {', '.join(names)}")
    number_of = {text: number for number, text in enumerate(names)}
    return [number_of[text] for text in texts], names


def open_object(name: str, data_dir: str) -> Source:
    """Opens a registered object; `data_dir` is not used. All items are read once where there are labels or paths.

    Raises:
      UserError: there is no such object in this process, it is empty, or one of its items has another form.
    """
    del data_dir
    if name not in _REGISTERED:
        raise UserError(
            f"object:{name} is not in this process, and objects live in one: register it again with "
            "ns_jax.data.sources.objects.register, or save the images to a folder"
        )
    content, class_names = _REGISTERED[name]
    if not len(content):
        raise UserError(f"object:{name} is empty: it has no images")
    image, label = _item(name, content, 0)
    if label is None and not _is_path(image):
        return _source_of_arrays(name, content, [-1] * len(content), ())
    images, labels = [], []
    for index in range(len(content)):
        image, label = _item(name, content, index)
        images.append(image if _is_path(image) else None)
        labels.append(label)
    if all(label is None for label in labels):
        numbers, classes = [-1] * len(labels), ()
    else:
        numbers, classes = _class_numbers(name, labels, class_names)
    if all(image is None for image in images):
        return _source_of_arrays(name, content, numbers, classes)
    return _source_of_paths(name, images, numbers, classes)


def _source_of_paths(name: str, images: list, labels: list[int], class_names: tuple[str, ...]) -> Source:
    if None in images:
        raise UserError(f"object:{name}: number {images.index(None)} is no path, and others are: give all as paths")
    paths = [os.fspath(image) for image in images]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(f"object:{name}: {len(missing)} of {len(paths)} paths are no files, first {missing[0]}")
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UserError(f"object:{name} has {twice} twice: give each image once")
    return source_of_files(f"object:{name}", paths, paths, labels, class_names)


def _source_of_arrays(name: str, content: Any, labels: list[int], class_names: tuple[str, ...]) -> Source:
    numbers = np.array(labels, np.int32)
    targets = tf.constant(numbers)
    lock = threading.Lock()  # not every object may be read by several threads at once

    def read(index):
        with lock:
            image = _item(name, content, int(index))[0]
        return _as_array(image)

    def load(index, window=None):
        image = tf.numpy_function(read, [index], tf.uint8, stateful=False)
        image.set_shape([None, None, 3])
        return take(image, window), targets[index]

    return Source(
        name=f"object:{name}",
        count=len(numbers),
        class_names=class_names,
        load=load,
        ids=lambda indices: np.char.add(f"{name}#".encode(), np.char.mod(b"%d", indices)),
        may_be_broken=True,
        labels=numbers,
    )
