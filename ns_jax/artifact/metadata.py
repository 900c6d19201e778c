"""Metadata of a trained model: model.json in its folder, and the same text inside files of other libraries.

Format version 2. Files of version 1 have no `format_version`; they are otherwise the same and are read.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from ns_jax.artifact.class_names import default_class_names
from ns_jax.errors import UserError
from ns_jax.files import is_file
from ns_jax.models.base import Architecture, ArrayInputs, BuildOptions, ImageInputs, Inputs, Network, build_network
from ns_jax.models.registry import ARCHITECTURES, get_architecture
from ns_jax.registry import is_import_path

METADATA = "model.json"
EMBEDDED = "ns_jax"  # name of the metadata inside files of other libraries
FORMAT_VERSION = 2

MAX_RESOLUTION = 10_000
MAX_CLASSES = 1_000_000
MAX_EXAMPLE_SIZE = 100_000_000  # numbers of one example
IMAGE_FIELDS = ("resolution", "crop_padding", "mean", "std")
REQUIRED = ("variant", "class_names", *IMAGE_FIELDS)
DEFAULTS = {"format_version": 1, "interpolation": "bicubic", "steps": None, "training": None, "teacher": None}


def has_artifact(folder: epath.Path) -> bool:
    """Whether a folder holds a trained model. Its metadata is written last, so the model is complete."""
    return is_file(folder / METADATA)


def read_metadata(folder: epath.Path) -> dict:
    """Reads model.json of a folder, and none of its weights.

    Returns:
      Every field of `model_metadata`, and `fingerprint`.

    Raises:
      UserError: there is none, it is damaged, or a field is wrong (names the file and the field).
    """
    path = folder / METADATA
    if not has_artifact(folder):
        raise UserError(f"no model in {folder} (a folder with {METADATA} and its weights is needed)")
    metadata = _parse(path.read_bytes(), path)
    if not isinstance(metadata, dict) or "fingerprint" not in metadata:
        raise UserError(f"{path} was not written by this project (it has no fingerprint): open another folder")
    return check_metadata(metadata, path)


def embedded_metadata(metadata: Mapping[str, Any]) -> str:
    """The metadata as JSON for files of other libraries: without the fingerprint, which is that of other bytes."""
    kept = {key: value for key, value in metadata.items() if key != "fingerprint"}
    return json.dumps(kept | {"format_version": FORMAT_VERSION}, sort_keys=True)


def parse_embedded(text: str, where: Any) -> dict:
    """Undoes `embedded_metadata`.

    Args:
      text: JSON.
      where: the file, for messages.

    Raises:
      UserError: it is damaged, or a field is wrong.
    """
    metadata = _parse(text, f"the metadata in {where}")
    if not isinstance(metadata, dict):
        raise UserError(f"the metadata in {where} was not written by this project")
    return check_metadata(metadata, f"the metadata in {where}")


def model_metadata(architecture: Architecture, num_classes: int, **known: Any) -> dict:
    """Metadata of a model.

    Args:
      architecture: of the model.
      num_classes: length of the logits.
      **known: fields that replace the architecture's own, as class_names, resolution, steps, training (fingerprint
        of the config) and teacher (fingerprint of its weights); ones that do not apply to arrays stay null there.

    Returns:
      A dictionary that JSON can hold: variant, class_names, resolution, crop_padding, interpolation, mean, std,
      steps, training, teacher, format_version; for arrays input_shape and input_dtype; and exif_orientation where the
      model's images are turned as their EXIF data say.

    Raises:
      UserError: a field is wrong, as two classes of one name.
    """
    inputs = architecture.inputs
    metadata: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "variant": architecture.name,
        "steps": None,
        "training": None,
        "teacher": None,
    }
    if "class_names" not in known:
        metadata["class_names"] = default_class_names(num_classes)
    if isinstance(inputs, ImageInputs):
        metadata |= {
            "resolution": inputs.test_resolution,
            "crop_padding": inputs.crop_padding,
            "interpolation": inputs.interpolation,
            "mean": list(inputs.mean),
            "std": list(inputs.std),
        }
        metadata |= known
    else:
        nothing = dict.fromkeys((*IMAGE_FIELDS, "interpolation"))
        metadata |= known | nothing | {"input_shape": list(inputs.shape), "input_dtype": inputs.dtype}
    where = f"model {architecture.name}"
    if len(metadata["class_names"]) != num_classes:
        raise UserError(f"{where}: {len(metadata['class_names'])} class names for {num_classes} classes")
    return check_fields(metadata, where)


def inputs_of(metadata: Mapping[str, Any]) -> Inputs:
    """How the model's examples are prepared. Images have the resolution at which it was evaluated."""
    if is_of_arrays(metadata):
        return ArrayInputs(tuple(metadata["input_shape"]), metadata.get("input_dtype", "float32"))
    return ImageInputs(
        resolution=metadata["resolution"],
        test_resolution=metadata["resolution"],
        crop_padding=metadata["crop_padding"],
        interpolation=metadata.get("interpolation", "bicubic"),
        mean=tuple(metadata["mean"]),
        std=tuple(metadata["std"]),
    )


def is_of_arrays(metadata: Mapping[str, Any]) -> bool:
    """Whether the model takes arrays of one shape instead of images."""
    return metadata.get("input_shape") is not None


def network_of(metadata: Mapping[str, Any], options: BuildOptions | None = None) -> Network:
    """Builds the network that the metadata describes; its inputs are prepared as the metadata says.

    Raises:
      UserError: the architecture is unknown, cannot do what the options ask for, or takes other inputs.
    """
    architecture, inputs = get_architecture(metadata["variant"]), inputs_of(metadata)
    if type(inputs) is not type(architecture.inputs):
        raise UserError(
            f"the model's metadata describes {type(inputs).__name__}, and {architecture.name} takes "
            f"{type(architecture.inputs).__name__}"
        )
    return build_network(architecture, len(metadata["class_names"]), options, inputs)


def check_variant(metadata: Mapping[str, Any], variant: str | None, where: Any) -> None:
    """Checks that a model which somebody opens is of the variant that they ask for, if any.

    Raises:
      UserError: it is of another, or nothing was asked for and the metadata names code to import: a file must not
        choose what runs.
    """
    known = metadata["variant"]
    if variant and variant != known:
        raise UserError(f"{where} is {known}, not {variant}")
    if not variant and is_import_path(known):
        raise UserError(
            f"{where} is of the model {known}, whose code runs when it is opened: say that you want that by naming "
            f"it, variant={known!r} (or --variant={known})"
        )


# Checks of fields ----------------------------------------------------------------------------------------------


def check_metadata(metadata: dict, where: Any) -> dict:
    """Checks every field of metadata that was read, and fills in those that version 1 lacks.

    Args:
      metadata: a dictionary from JSON.
      where: file, for messages.

    Returns:
      The metadata, with a value for every field.

    Raises:
      UserError: a field is missing or wrong.
    """
    version = metadata.get("format_version", 1)
    if _is_integer(version, FORMAT_VERSION + 1, math.inf):
        raise UserError(
            f"{where} has format_version {version}, this version of ns_jax reads {FORMAT_VERSION}: update it"
        )
    if missing := [name for name in REQUIRED if name not in metadata]:
        raise UserError(f"{where} has no {missing[0]}: it is not whole, take it from a copy")
    metadata = check_fields(DEFAULTS | metadata, where)
    if not is_import_path(metadata["variant"]) and metadata["variant"] not in ARCHITECTURES:
        try:
            get_architecture(metadata["variant"])
        except UserError as error:
            raise UserError(f"{where}: variant: {error}") from None
    return metadata


def check_fields(metadata: dict, where: Any) -> dict:
    """Returns the metadata. Raises UserError, with `where` and the field's name, unless its fields are right."""
    of_arrays = is_of_arrays(metadata)
    for name, value in metadata.items():
        if of_arrays and name in (*IMAGE_FIELDS, "interpolation"):
            if value is not None:
                raise UserError(f"{where}: {name} must be null where there is an input_shape, not {_short(value)}")
        elif name == "class_names":
            if problem := _class_names_problem(value):
                raise UserError(f"{where}: class_names {problem}")
        elif name in _FIELDS:
            is_right, description = _FIELDS[name]
            if not is_right(value):
                raise UserError(f"{where}: {name} must be {description}, not {_short(value)}")
    return metadata


def _parse(text: str | bytes, where: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8, or a number without end
        raise UserError(
            f"{where} is damaged ({_short(str(error))}): take it from a copy; without one, delete the folder "
            "that it is in, and the run that made the model writes it again from its last checkpoint"
        ) from None


def _short(value: Any) -> str:
    """A value for a message, on one line."""
    text = " ".join(str(value if isinstance(value, str) else json.dumps(value, default=str)).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_integer(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high  # NaN is not


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _are_channels(value: Any, low: float, high: float) -> bool:
    return _is_sequence(value) and len(value) == 3 and all(_is_number(number, low, high) for number in value)


def _is_shape(value: Any) -> bool:
    if value is None:
        return True
    sizes = _is_sequence(value) and all(_is_integer(size, 1, MAX_EXAMPLE_SIZE) for size in value)
    return sizes and len(value) >= 1 and math.prod(value) <= MAX_EXAMPLE_SIZE


def _is_dtype(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return np.dtype(value).kind in "fiub"
    except TypeError:
        return False


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _class_names_problem(names: Any) -> str | None:
    """What is wrong with class names, or None."""
    if not _is_sequence(names) or not names or not all(isinstance(name, str) for name in names):
        return f"must be a list of at least one text, not {_short(names)}"
    if len(names) > MAX_CLASSES:
        return f"are {len(names)}: at most {MAX_CLASSES} are possible"
    seen = set()
    for index, name in enumerate(names):
        if not name.strip():
            return f"must not be empty, as the one of class {index} is"
        if name in seen:
            return f"must differ, and {_short(name)!r} is there twice (again at class {index})"
        seen.add(name)
    return None


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format_version": (lambda value: _is_integer(value, 1, FORMAT_VERSION), f"a number from 1 to {FORMAT_VERSION}"),
    "variant": (lambda value: isinstance(value, str) and bool(value), "the name of a model variant"),
    "resolution": (
        lambda value: _is_integer(value, 1, MAX_RESOLUTION), f"a whole number of pixels from 1 to {MAX_RESOLUTION}"
    ),
    "crop_padding": (
        lambda value: _is_integer(value, 0, MAX_RESOLUTION), f"a whole number of pixels from 0 to {MAX_RESOLUTION}"
    ),
    "interpolation": (lambda value: value in ("bicubic", "bilinear"), "bicubic or bilinear"),
    "mean": (lambda value: _are_channels(value, -1e6, 1e6), "3 finite numbers"),
    "std": (lambda value: _are_channels(value, 1e-6, 1e6), "3 finite numbers above 0"),
    "steps": (lambda value: value is None or _is_integer(value, 0, 2**63), "a whole number or null"),
    "training": (_is_text_or_none, "a text or null"),
    "teacher": (_is_text_or_none, "a text or null"),
    "exif_orientation": (lambda value: isinstance(value, bool), "true or false"),
    "imported_from": (_is_text_or_none, "a text or null"),
    "input_shape": (_is_shape, f"a list of sizes whose product is at most {MAX_EXAMPLE_SIZE}, or null"),
    "input_dtype": (_is_dtype, "the name of a dtype of numbers, as float32"),
    "fingerprint": (_is_fingerprint, "a SHA-256 of 64 hexadecimal digits"),
}  # fmt: skip
