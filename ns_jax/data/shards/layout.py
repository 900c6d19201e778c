"""Where in a record the image and its label are: known layouts, or what a source string or shards.json says.

shards.json lies in the folder of the shards: {"image": FEATURE, "label": FEATURE, "first_label": 0, "class_names":
[...], "checked": true}, each where it is needed. What a source string says goes before it.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import read_json

SIDECAR = "shards.json"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where in a tf.train.Example things are.

    Attributes:
      image: the feature with the encoded image.
      label: the feature with the label; '' where there is none.
      first_label: the number of the first class.
      label_is_text: whether the label is the name of a class.
    """

    image: str
    label: str = ""
    first_label: int = 0
    label_is_text: bool = False


def read_settings(source: str, folder: str, options: Mapping[str, str]) -> dict[str, Any]:
    """What shards.json and the source string say of the records.

    Raises:
      UserError: shards.json cannot be read, a number is none, or the file of class names is missing.
    """
    path = epath.Path(folder) / SIDECAR
    settings: dict[str, Any] = read_json(path) if path.exists() else {}
    if not isinstance(settings, dict):
        raise UserError(f"{path} must hold an object, as {json.dumps({'image': 'image', 'label': 'label'})}")
    settings.update({key: value for key, value in options.items() if key in ("image", "label")})
    try:
        settings["first_label"] = int(options.get("first_label", settings.get("first_label", -1)))
    except (TypeError, ValueError):
        raise UserError(f"{source}: first_label is a whole number, as 0 or 1") from None
    if "checked" in options:
        if options["checked"] not in ("yes", "no"):
            raise UserError(f"{source}: checked is yes or no, not {options['checked']!r}")
        settings["checked"] = options["checked"] == "yes"
    if "classes" in options:
        settings["class_names"] = _class_names(source, options["classes"])
    return settings


def _class_names(source: str, classes: str) -> list[str]:
    """Class names: of a file, one a line, or the numbers below a number."""
    if classes.isascii() and classes.isdecimal():
        return [str(number) for number in range(int(classes))]
    path = epath.Path(os.path.expanduser(classes))
    if not path.exists():
        raise UserError(f"{source}: classes={classes} is neither a number nor a file with the name of a class a line")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def layout_of(source: str, path: str, record: bytes, settings: Mapping[str, Any]) -> Layout:
    """The layout of the records of a shard, by its first one.

    Known are that of ImageNet's TFRecords (labels from 1 on), that of the official project's unlabeled images (their
    `label` is an answer of its teacher, and is no label here), and that of TFDS and of `ns_jax.pack`.

    Args:
      source: the source string, for errors.
      path: of the shard.
      record: its first.
      settings: see `read_settings`.

    Raises:
      UserError: the record is no tf.train.Example, or lacks the image.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        features = {}
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    has = f"it has {', '.join(sorted(kinds))}" if kinds else "its records are no tf.train.Example"
    if "image" in settings:
        known = Layout(settings["image"], settings.get("label", ""), max(settings["first_label"], 0))
    elif {"image/encoded", "probabilities"} <= kinds.keys():
        known = Layout("image/encoded", settings.get("label", ""))
    elif "image/encoded" in kinds:
        known = Layout("image/encoded", "image/class/label" if "image/class/label" in kinds else "", 1)
    elif "image" in kinds:
        known = Layout("image", "label" if "label" in kinds else "", 0)
    else:
        raise UserError(
            f"{source}: {path} has no feature 'image/encoded' or 'image': {has}; name them at the end of the source, "
            "as GLOB:image=FEATURE,label=FEATURE"
        )
    if settings["first_label"] >= 0:
        known = dataclasses.replace(known, first_label=settings["first_label"])
    if "label" in settings:
        known = dataclasses.replace(known, label=settings["label"])
    if kinds.get(known.image) != "bytes_list":
        raise UserError(f"{source}: {path} has no image in the feature {known.image!r}: {has}")
    if known.label and known.label not in kinds:
        raise UserError(f"{source}: {path} has no feature {known.label!r} for the label: {has}")
    return dataclasses.replace(known, label_is_text=kinds.get(known.label) == "bytes_list")
