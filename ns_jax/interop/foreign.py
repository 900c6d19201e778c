"""From weights under foreign names to this project's, every one of them accounted for."""

import dataclasses
import functools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.artifact.weights import Artifact, check_variant, describe_differences, model_card
from ns_jax.errors import UserError
from ns_jax.models.efficientnet.names import names
from ns_jax.models.registry import create_model
from ns_jax.models.variants import VARIANTS, EfficientNetVariant, get_variant

SYMMETRIC = re.compile(r"(?i)(?<!tf_)efficientnet_(b\d|l2)")  # names of timm's models that PyTorch's padding made
ADVPROP = re.compile(r"(?i)advprop|efficientnet_(b\d|l2)[._]ap(?![a-z])")
ADVPROP_MEAN_STD = (0.5, 0.5, 0.5)
OTHER_NAMINGS = {  # beginning of a name -> whose it is
    "features.": "torchvision",
    "_conv_stem.": "efficientnet_pytorch",
    "backbone.": "a segmentation or detection model",
    "stem_conv": "keras.applications",
    "layer1.": "a ResNet of torchvision or timm",
}


@dataclasses.dataclass(frozen=True)
class ForeignWeights:
    """Weights as a file names them.

    Attributes:
      scheme: of the names, see `interop.names`.
      shapes: {name: shape}, without optimiser slots and counters.
      get: name -> array, read when asked for.
      where: the file, for messages and for hints in its name.
      card: what the file itself says: resolution, mean, std, ...; with a variant, this project wrote it.
    """

    scheme: str
    shapes: dict[str, tuple[int, ...]]
    get: Callable[[str], np.ndarray]
    where: str
    card: dict = dataclasses.field(default_factory=dict)


@functools.cache
def expected_shapes(row, num_classes: int) -> dict[str, tuple[int, ...]]:
    """{key: shape} of all variables of a row's model."""
    model = create_model(row, num_classes)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), image)
    return {key: tuple(leaf.shape) for key, leaf in flatten_dict(tree, sep="/").items()}


def _agreement(foreign: ForeignWeights, row: EfficientNetVariant) -> float:
    """Share of the names that a row and a file have in common, and a little more for an equal stem."""
    known = names(row, foreign.scheme)
    wanted = {name.name for name in known.values()}
    common = len(wanted & foreign.shapes.keys()) / len(wanted | foreign.shapes.keys())
    out_axis = -1 if foreign.scheme == "tf" else 0
    stem = foreign.shapes.get(known["params/stem/kernel"].name, (0,))
    head = foreign.shapes.get(known["params/head/kernel"].name, (0,))
    equal = [
        stem[out_axis] == row.round_filters(row.stem_filters),
        head[out_axis] == row.round_filters(row.head_filters),
    ]
    return common + 0.01 * sum(equal)


def recognize_variant(foreign: ForeignWeights) -> EfficientNetVariant:
    """The row whose names and widths are nearest. Rows that differ in strides alone: the first."""
    rows = [row for row in VARIANTS.values() if isinstance(row, EfficientNetVariant)]
    return max(rows, key=lambda row: _agreement(foreign, row))


def _likely_reason(foreign: ForeignWeights, row, given: bool) -> str:
    for start, whose in OTHER_NAMINGS.items():
        if any(name.startswith(start) for name in foreign.shapes):
            return f"they have the names of {whose}"
    nearest = recognize_variant(foreign)
    if given and _agreement(foreign, nearest) > _agreement(foreign, row):
        return f"they look like another variant, {nearest.name}"
    if _agreement(foreign, row) < 0.5:
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
    if scheme != "tf" and SYMMETRIC.search(said):
        raise UserError(
            f"{where}: {said} names a model trained in PyTorch, with symmetric padding and batch norm's "
            "epsilon 1e-5. Its tensors fit, its logits would be wrong: take tf_efficientnet_* instead (or "
            "rename the file, or its folder, if it is one)"
        )


def _resolution(row, foreign: ForeignWeights) -> int:
    is_475 = row.name == "efficientnet-l2" and re.search(r"(?<!\d)475(?!\d)", foreign.where)
    return 475 if is_475 else row.test_resolution


def to_artifact(foreign: ForeignWeights, variant: str | None = None) -> Artifact:
    """Translates names and layouts.

    Args:
      foreign: what was read.
      variant: row of the table; recognised from names and shapes where None.

    Raises:
      UserError: lists every missing, surplus and misshapen tensor, and the likely reason; or the file says
        that it is of another variant, or of a model that this project does not have.
    """
    architecture, path = foreign.card.get("architecture", ""), "/".join(epath.Path(foreign.where).parts[-2:])
    if "variant" not in foreign.card:
        said = architecture if "efficientnet_" in architecture else path
        refuse_symmetric_padding(foreign.scheme, said, foreign.where)
    wanted = foreign.card.get("variant") or variant
    row = get_variant(wanted) if wanted else recognize_variant(foreign)
    if not isinstance(row, EfficientNetVariant):
        raise UserError(f"{foreign.where}: only EfficientNets are read from other libraries, not {row.name}")
    known = names(row, foreign.scheme)
    bias = foreign.shapes.get(known["params/classifier/bias"].name, (1000,))
    want = {}
    for key, shape in expected_shapes(row, bias[0]).items():
        name = known[key]
        want[name.name] = tuple(name.from_ours(np.broadcast_to(np.float32(0), shape)).shape)
    if problems := describe_differences(foreign.shapes, want):
        raise UserError(
            f"the weights in {foreign.where} do not fit {row.name}: "
            f"{_likely_reason(foreign, row, bool(variant))}; {problems}"
        )
    flat = {key: np.ascontiguousarray(name.to_ours(foreign.get(name.name)), np.float32) for key, name in known.items()}
    card = model_card(row, bias[0], resolution=_resolution(row, foreign), imported_from=epath.Path(foreign.where).name)
    if ADVPROP.search(f"{architecture} {path}"):
        card |= {"mean": ADVPROP_MEAN_STD, "std": ADVPROP_MEAN_STD}
    card |= {key: value for key, value in foreign.card.items() if key in card}
    artifact = Artifact(unflatten_dict(flat, sep="/"), card, epath.Path(foreign.where))
    check_variant(artifact, variant)
    return artifact


def check_artifact(artifact: Artifact) -> None:
    """Raises UserError unless the weights are those of the model that the card describes; lists what differs."""
    have = {key: tuple(value.shape) for key, value in flatten_dict(artifact.variables, sep="/").items()}
    count = len(artifact.card["class_names"])
    if problems := describe_differences(have, expected_shapes(get_variant(artifact.card["variant"]), count)):
        raise UserError(
            f"the weights in {artifact.folder} do not fit {artifact.card['variant']} with {count} classes, "
            f"which its card names: {problems}"
        )


def to_foreign(artifact: Artifact, scheme: str) -> dict[str, np.ndarray]:
    """{name in `scheme`: array in its layout} of an artifact. Raises UserError for a ResNet."""
    row = get_variant(artifact.card["variant"])
    if not isinstance(row, EfficientNetVariant):
        raise UserError(f"{row.name} has no names in other libraries: take --format=artifact, saved_model or stablehlo")
    flat = flatten_dict(artifact.variables, sep="/")
    return {
        name.name: np.ascontiguousarray(name.from_ours(np.asarray(flat[key])))
        for key, name in names(row, scheme).items()
    }
