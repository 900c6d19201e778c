"""The model artifact: EMA weights and model.json in a folder. What an iteration hands on."""

import dataclasses
import hashlib

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.errors import UserError
from ns_jax.files import read_json, write_bytes, write_json

WEIGHTS, CARD = "weights.safetensors", "model.json"


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


def save_artifact(folder: epath.Path, variables: dict, card: dict) -> None:
    """Writes the weights, then the card: a folder with a card is complete.

    Raises:
      UserError: a parameter is not finite; nothing is written.
    """
    flat = {key: np.ascontiguousarray(value) for key, value in flatten_dict(variables, sep="/").items()}
    broken = [key for key, value in flat.items() if not np.isfinite(value).all()]
    if broken:
        raise UserError(f"{broken[0]} is not finite after the last step: lower base_learning_rate, and delete the "
                        "checkpoints to start anew")  # fmt: skip
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
    data = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != card["fingerprint"]:
        raise UserError(f"{folder / WEIGHTS} is damaged: its fingerprint is not the one in {CARD}")
    return Artifact(unflatten_dict(safetensors.numpy.load(data), sep="/"), card, folder)


def check_variables(artifact: Artifact, expected: dict) -> None:
    """Compares names and shapes with `expected`, a tree of shapes.

    Raises:
      UserError: lists every missing, surplus and misshapen parameter.
    """
    have = {key: tuple(value.shape) for key, value in flatten_dict(artifact.variables, sep="/").items()}
    want = {key: tuple(value.shape) for key, value in flatten_dict(expected, sep="/").items()}
    problems = [f"missing {key}" for key in sorted(want.keys() - have.keys())]
    problems += [f"surplus {key}" for key in sorted(have.keys() - want.keys())]
    problems += [f"{key} is {have[key]}, not {want[key]}" for key in sorted(want.keys() & have.keys())
                 if have[key] != want[key]]  # fmt: skip
    if problems:
        raise UserError(f"the weights do not fit {artifact.card['variant']}: " + "; ".join(problems))
