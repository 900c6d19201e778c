"""The model artifact: EMA weights and model.json in a folder. What an iteration hands on."""

import dataclasses
import hashlib
import json

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.artifact.class_names import wordnet_ids
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_bytes, write_json
from ns_jax.models.variants import Variant

WEIGHTS, CARD = "weights.safetensors", "model.json"
EMBEDDED = "ns_jax"  # under which files of other libraries carry the card


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A trained model as arrays on the host.

    Attributes:
      variables: {params, batch_stats}, trees of float32 NumPy arrays.
      card: model.json: variant, class_names, resolution, crop_padding, mean, std, fingerprint
        (SHA-256 of the weights), training (fingerprint of the config that made it).
      folder: where it was read from.
    """

    variables: dict
    card: dict
    folder: epath.Path

    @property
    def fingerprint(self) -> str:
        return self.card["fingerprint"]

    def embedded_card(self) -> str:
        """The card as JSON, without the fingerprint, for files of other libraries."""
        return json.dumps({key: value for key, value in self.card.items() if key != "fingerprint"}, sort_keys=True)


def default_class_names(num_classes: int) -> list[str]:
    """ImageNet's WordNet ids where there are 1000, else the numbers."""
    return wordnet_ids() if num_classes == 1000 else [str(i) for i in range(num_classes)]


def model_card(row: Variant, num_classes: int, **known) -> dict:
    """What model.json says about a model of a row of the table; `known` replaces the row's own."""
    card = {
        "variant": row.name,
        "class_names": default_class_names(num_classes),
        "resolution": row.test_resolution,
        "crop_padding": row.crop_padding,
        "interpolation": row.interpolation,
        "mean": row.mean,
        "std": row.std,
        "steps": None,
        "training": None,
        "teacher": None,
    }
    return card | known


def save_artifact(folder: epath.Path, variables: dict, card: dict) -> None:
    """Writes the weights, then the card: a folder with a card is complete.

    Raises:
      UserError: a parameter is not finite; nothing is written.
    """
    flat = {key: np.ascontiguousarray(value) for key, value in flatten_dict(variables, sep="/").items()}
    broken = [key for key, value in flat.items() if not np.isfinite(value).all()]
    if broken:
        raise UserError(
            f"{broken[0]} is not finite after the last step: lower base_learning_rate, and delete the "
            "checkpoints to start anew"
        )
    data = safetensors.numpy.save(flat)
    write_bytes(folder / WEIGHTS, data)
    write_json(folder / CARD, card | {"fingerprint": hashlib.sha256(data).hexdigest()})


def has_artifact(folder: epath.Path) -> bool:
    return (folder / CARD).exists()


def load_artifact(folder: epath.Path) -> Artifact:
    """Reads a model artifact.

    Raises:
      UserError: there is none, or its weights are not those that were written.
    """
    if not has_artifact(folder):
        raise UserError(f"no model in {folder} (a folder with {CARD} and {WEIGHTS} is needed)")
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or "fingerprint" not in card:
        raise UserError(f"{folder / CARD} was not written by this project")
    path = folder / WEIGHTS
    if not path.exists():
        raise UserError(f"{folder} has {CARD}, but {WEIGHTS} is missing")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != card["fingerprint"]:
            raise UserError(f"{path} is damaged: its fingerprint is not the one in {CARD}")
    # Local files are read array by array: the largest model fills a third of its memory once.
    arrays = safetensors.numpy.load(path.read_bytes()) if "://" in str(path) else safetensors.numpy.load_file(path)
    return Artifact(unflatten_dict(arrays, sep="/"), card, folder)


def check_variant(artifact: Artifact, variant: str | None) -> None:
    """Raises UserError if the model is of another variant than the one asked for."""
    if variant and variant != artifact.card["variant"]:
        raise UserError(f"{artifact.folder} is {artifact.card['variant']}, not {variant}")


def describe_differences(have: dict[str, tuple], want: dict[str, tuple]) -> str:
    """Every missing, surplus and misshapen array of {name: shape}; empty where there is none."""
    problems = [f"missing {key}" for key in sorted(want.keys() - have.keys())]
    problems += [f"surplus {key}" for key in sorted(have.keys() - want.keys())]
    problems += [
        f"{key} is {have[key]}, not {want[key]}" for key in sorted(want.keys() & have.keys()) if have[key] != want[key]
    ]
    return "; ".join(problems)
