"""Top-1 where an image may have several right labels, as ImageNet ReaL (Beyer et al. 2020, arXiv 2006.07159).

The file of right labels is that of google-research/reassessed-imagenet, real.json: a list with the classes of
ILSVRC2012_val_00000001 first; or {id of an image: its classes}. Classes are numbers or names. Images without a right
label do not count. Without a file a source must give them, as tfds:imagenet2012_real/validation does.
"""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.files import read_json
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import sum_over_hosts

OFFICIAL_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})")


def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options) -> dict:
    """Counts every image that has a right label once.

    Args:
      predictor: of the model; its classes are in the order of the file's numbers.
      source: of the images; its own labels do not matter.
      indices: of its readable examples.
      options: `right_labels`, the file; '' where the source gives them.

    Returns:
      {count, correct, top1, without_label}.

    Raises:
      UserError: the file is missing or has another form, lacks an image, or names a class that the model has not.
    """
    file = options["right_labels"]
    labels_of_source = None if file else getattr(source, "right_labels", None)
    places = {name: place for place, name in enumerate(predictor.class_names)}
    if labels_of_source is not None:
        right = [
            places_of(source.name, labels, places, f"image {index}")
            for index, labels in zip(indices.tolist(), labels_of_source(indices), strict=True)
        ]
    else:
        right = read_right_labels(file, source.ids(indices), places)
    of_index = dict(zip(indices.tolist(), right, strict=True))
    counts = np.zeros(2, np.int64)
    for probs, _, places in predictor.every_example(source, indices):
        for answer, index in zip(probs.argmax(1).tolist(), places.tolist(), strict=True):
            if of_index[index]:
                counts += [1, answer in of_index[index]]
    count, correct = sum_over_hosts(counts).tolist()
    if not count:
        raise UserError(f"right_labels={file}: no image of {source.name} has a right label in it")
    return {"count": count, "correct": correct, "top1": correct / count, "without_label": len(indices) - count}


def read_right_labels(file: str, ids: np.ndarray, places: Mapping[str, int]) -> list[frozenset[int]]:
    """Places of the right labels of each image among the model's classes; the empty set where it has none.

    Args:
      file: see the top of this module.
      ids: byte strings [N].
      places: {class of the model: its place}.

    Raises:
      UserError: see `evaluate`.
    """
    path = epath.Path(os.path.expanduser(file))
    if not file or not path.is_file():
        raise UserError(f"right_labels={file!r}: there is no such file; for ImageNet ReaL it is real.json")
    content = read_json(path)
    right = []
    for id_of_image in ids.tolist():
        text = os.fsdecode(id_of_image)
        right.append(places_of(file, labels_of_image(content, text, file), places, text))
    return right


def places_of(where: str, labels: Sequence, places: Mapping[str, int], image: str) -> frozenset[int]:
    """Places of an image's labels, names or numbers, by {class: place}. Raises UserError for one that is no class."""
    numbers = [places.get(label, -1) if isinstance(label, str) else label for label in labels]
    wrong = [label for label, number in zip(labels, numbers, strict=True) if not 0 <= number < len(places)]
    if wrong:
        raise UserError(f"{where}: {image} has the label {wrong[0]!r}, which is none of the {len(places)} classes")
    return frozenset(numbers)


def labels_of_image(content, text: str, file: str) -> list:
    """The entry of an image in the file's content."""
    if isinstance(content, dict):
        for key in (text, os.path.basename(text)):
            if key in content:
                return content[key]
        raise UserError(f"{file} has no entry for {text}: it is {{id of an image: its classes}}")
    match = OFFICIAL_NAME.search(text)
    if not isinstance(content, list) or not match or not 1 <= int(match[1]) <= len(content):
        raise UserError(
            f"{file} has no entry for {text}: it is a list in the order of ILSVRC2012_val_00000001 and so on, or "
            "{id of an image: its classes}"
        )
    return content[int(match[1]) - 1]
