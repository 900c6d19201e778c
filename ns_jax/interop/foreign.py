"""From weights under foreign names to this project's, every one of them accounted for.

An architecture says what its weights are called elsewhere (`Architecture.foreign_names`): values with the attributes
`name`, `kind` ('conv', 'depthwise', 'conv_bias', 'dense' or 'bn'), and the methods `to_ours(array)` and
`from_ours(array)` between the two layouts.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.artifact.metadata import check_metadata, check_variant, model_metadata, network_of
from ns_jax.artifact.weights import Artifact, describe_differences
from ns_jax.errors import UserError
from ns_jax.models.base import Architecture, ImageInputs, Inputs, build_network, variable_shapes
from ns_jax.models.registry import ARCHITECTURES, get_architecture

SYMMETRIC = re.compile(r"(?i)(?<!tf_)efficientnet_(b\d|l2|lite\d)")  # names of timm's models with PyTorch's padding
ADVPROP = re.compile(r"(?i)advprop|efficientnet_(b\d|l2)[._]ap(?![a-z])|adv-efficientnet-b\d")
ADVPROP_MEAN_STD = (0.5, 0.5, 0.5)
FORMATS_OF_ANY_MODEL = "artifact, saved_model and stablehlo"
OTHER_NAMINGS = {  # beginning of a name -> whose it is
    "features.": "torchvision",
    "backbone.": "a segmentation or detection model",
    "stem_conv": "keras.applications",
    "layer1.": "a ResNet of torchvision or timm",
}


@dataclasses.dataclass(frozen=True)
class ForeignWeights:
    """Weights as a file names them.

    Attributes:
      scheme: of the names, see `Architecture.foreign_names`.
      shapes: {name: shape}, without optimiser slots and counters.
      get: name -> array, read when asked for.
      where: the file, for messages and for hints in its name.
      metadata: what the file itself says: resolution, mean, std, ...; with a variant, this project wrote it.
    """

    scheme: str
    shapes: dict[str, tuple[int, ...]]
    get: Callable[[str], np.ndarray]
    where: str
    metadata: dict = dataclasses.field(default_factory=dict)


@functools.cache
def expected_shapes(variant: str, num_classes: int, inputs: Inputs | None = None) -> Mapping[str, tuple[int, ...]]:
    """{key, as 'params/stem/kernel': shape} of all variables of a variant's network."""
    return variable_shapes(build_network(get_architecture(variant), num_classes, inputs=inputs))


def named_architectures(scheme: str) -> Iterator[Architecture]:
    """Every architecture of the table that has names in a scheme."""
    for variant in ARCHITECTURES:
        architecture = get_architecture(variant)
        if architecture.foreign_names(scheme) is not None:
            yield architecture


def _our_shape(name, foreign_shape: tuple[int, ...]) -> tuple[int, ...]:
    return name.to_ours(np.broadcast_to(np.float32(0), foreign_shape)).shape


def _foreign_shape(name, our_shape: tuple[int, ...]) -> tuple[int, ...]:
    return name.from_ours(np.broadcast_to(np.float32(0), our_shape)).shape


def _agreement(foreign: ForeignWeights, architecture: Architecture) -> float:
    """Share of the names that an architecture and a file have in common, and a little more for equal widths."""
    names = {name.name: name for name in foreign_names(architecture, foreign.scheme).values()}
    common = len(names.keys() & foreign.shapes.keys()) / len(names.keys() | foreign.shapes.keys())
    equal = 0
    for name, width in architecture.foreign_widths(foreign.scheme).items():
        if name in foreign.shapes:  # outputs are the last axis of this project's layout
            equal += _our_shape(names[name], foreign.shapes[name])[-1:] == (width,)
    return common + 0.01 * equal


def recognize_variant(foreign: ForeignWeights) -> Architecture:
    """The architecture whose names and widths are nearest; of several that are equally near, the first."""
    return max(named_architectures(foreign.scheme), key=lambda architecture: _agreement(foreign, architecture))


def _likely_reason(foreign: ForeignWeights, architecture: Architecture, given: bool) -> str:
    for start, whose in OTHER_NAMINGS.items():
        if any(name.startswith(start) for name in foreign.shapes):
            return f"they have the names of {whose}"
    nearest = recognize_variant(foreign)
    if given and _agreement(foreign, nearest) > _agreement(foreign, architecture):
        return f"they look like another variant, {nearest.name}"
    if _agreement(foreign, architecture) < 0.5:
        return "they are of another architecture"
    return "the file is incomplete, or of a modified model"


def refuse_symmetric_padding(scheme: str, said: str, where) -> None:
    """timm's efficientnet_* have the names and shapes of tf_efficientnet_*, but another padding and epsilon.

    Args:
      scheme: of the weights' names.
      said: the name of a model or a file.
      where: the file, for the message.

    Raises:
      UserError: it is the name of such a model.
    """
    if scheme in ("timm", "npz") and SYMMETRIC.search(said):
        raise UserError(
            f"{where}: {said} names a model trained in PyTorch, with symmetric padding and batch norm's "
            "epsilon 1e-5. Its tensors fit, its logits would be wrong: take tf_efficientnet_* instead (or "
            "rename the file, or its folder, if it is one)"
        )


def _num_classes(foreign: ForeignWeights, architecture: Architecture, names: Mapping) -> int:
    """Length of the head's bias, or where there is none of its outputs; 1000 where the file has no head."""
    shapes = []
    for key, name in names.items():
        collection, *path = key.split("/")
        if collection == "params" and architecture.is_head(tuple(path)) and name.name in foreign.shapes:
            shapes.append(_our_shape(name, foreign.shapes[name.name]))
    shapes = sorted((shape for shape in shapes if shape), key=len)
    return shapes[0][-1] if shapes else 1000


def _resolution_in_name(inputs: Inputs, where: str) -> dict:
    """{resolution} of a network that is published at its training resolution as well, and whose file says so."""
    if not isinstance(inputs, ImageInputs) or inputs.resolution == inputs.test_resolution:
        return {}
    said = re.search(rf"(?<!\d){inputs.resolution}(?!\d)", where)
    return {"resolution": inputs.resolution} if said else {}


def _as_float32(array: np.ndarray, name: str, where: str) -> np.ndarray:
    """A contiguous float32 array. Raises UserError for what is no float: a mask, a counter, a quantised weight."""
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise UserError(f"{where}: {name} is of type {array.dtype}, and weights are floats")
    return np.ascontiguousarray(array, np.float32)


def foreign_names(architecture: Architecture, scheme: str) -> Mapping:
    """The architecture's names in a scheme. Raises UserError where it has none; says which formats work."""
    names = architecture.foreign_names(scheme)
    if names is None:
        raise UserError(
            f"{architecture.name} has no names in {scheme} files: its formats are {FORMATS_OF_ANY_MODEL} "
            "(--format=artifact)"
        )
    return names


def to_artifact(foreign: ForeignWeights, variant: str | None = None) -> Artifact:
    """Translates names and layouts.

    Args:
      foreign: what was read.
      variant: name of a model variant; recognised from names and shapes where None.

    Raises:
      UserError: lists the missing, surplus and misshapen tensors, and the likely reason; or the file says
        that it is of another variant, or of a model that this project does not have.
    """
    said, where = foreign.metadata, foreign.where
    hub_name, path = said.get("architecture", ""), "/".join(epath.Path(where).parts[-2:])
    if "variant" in said:
        check_variant(said, variant, where)
    else:
        refuse_symmetric_padding(foreign.scheme, hub_name if "efficientnet_" in hub_name else path, where)
    wanted = said.get("variant") or variant
    architecture = get_architecture(wanted) if wanted else recognize_variant(foreign)
    names = foreign_names(architecture, foreign.scheme)
    num_classes = _num_classes(foreign, architecture, names)
    want = {}
    for key, shape in expected_shapes(architecture.name, num_classes).items():
        want[names[key].name] = _foreign_shape(names[key], shape)
    if problems := describe_differences(foreign.shapes, want):
        reason = _likely_reason(foreign, architecture, bool(variant))
        raise UserError(f"the weights in {where} do not fit {architecture.name}: {reason}; {problems}")

    metadata = model_metadata(architecture, num_classes) | {"imported_from": epath.Path(where).name}
    metadata |= _resolution_in_name(architecture.inputs, where)
    if ADVPROP.search(f"{hub_name} {path}"):
        metadata |= {"mean": ADVPROP_MEAN_STD, "std": ADVPROP_MEAN_STD}
    metadata |= {key: value for key, value in said.items() if key in metadata}
    check_metadata(metadata, where)
    if len(metadata["class_names"]) != num_classes:
        raise UserError(f"{where} names {len(metadata['class_names'])} classes, and its weights have {num_classes}")

    flat = {}
    for key, name in names.items():
        flat[key] = _as_float32(name.to_ours(foreign.get(name.name)), name.name, where)
    variables = {"params": {}, "batch_stats": {}} | unflatten_dict(flat, sep="/")
    return Artifact(variables, metadata, epath.Path(where))


def check_artifact(artifact: Artifact) -> None:
    """Checks that an artifact can be used.

    Raises:
      UserError: its weights are not those of the model that its metadata describes (lists what differs), or one
        is not finite, or a variance is negative.
    """
    flat = flatten_dict(artifact.variables, sep="/")
    have = {key: tuple(value.shape) for key, value in flat.items()}
    metadata, count = artifact.metadata, len(artifact.metadata["class_names"])
    want = expected_shapes(metadata["variant"], count, network_of(metadata).inputs)
    if problems := describe_differences(have, want):
        raise UserError(
            f"the weights in {artifact.folder} do not fit {metadata['variant']} with {count} classes, "
            f"which its metadata names: {problems}"
        )
    for key, value in flat.items():
        value = np.asarray(value)
        if not np.isfinite(value).all():
            raise UserError(f"{artifact.folder}: {key} has values that are not finite: train or download it again")
        # linen's batch norm calls its running variance so.
        if key.startswith("batch_stats/") and key.endswith("/var") and value.size and value.min() < 0:
            raise UserError(f"{artifact.folder}: {key} has negative variances: train or download it again")


def to_foreign(artifact: Artifact, scheme: str) -> dict[str, np.ndarray]:
    """{name in `scheme`: array in its layout} of an artifact. Raises UserError where its model has no such names."""
    names = foreign_names(get_architecture(artifact.metadata["variant"]), scheme)
    flat = flatten_dict(artifact.variables, sep="/")
    return {name.name: np.ascontiguousarray(name.from_ours(np.asarray(flat[key]))) for key, name in names.items()}
