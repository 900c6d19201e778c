"""The model artifact: EMA weights and model.json in a folder, which one iteration hands on to the next."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
import safetensors.numpy
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.artifact.metadata import FORMAT_VERSION, METADATA, read_metadata
from ns_jax.buckets import is_bucket
from ns_jax.errors import UserError
from ns_jax.files import file_sha256, is_file, write_bytes, write_json

WEIGHTS = "weights.safetensors"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A trained model as arrays on the host.

    Attributes:
      variables: {params, batch_stats}, trees of float32 NumPy arrays; batch_stats is {} where there are none.
      metadata: what model.json says, see `metadata.model_metadata`; `fingerprint` is the SHA-256 of the weights.
      folder: where it was read from.
    """

    variables: dict
    metadata: dict
    folder: epath.Path

    @property
    def fingerprint(self) -> str:
        return self.metadata["fingerprint"]


def fingerprint_of(variables: Mapping) -> str:
    """SHA-256 of the names and the bytes of weights; of files of other libraries, which do not say theirs."""
    digest = hashlib.sha256()
    for key, value in sorted(flatten_dict(dict(variables), sep="/").items()):
        digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def save_artifact(folder: epath.Path, variables: dict, metadata: dict) -> None:
    """Writes the weights, then the metadata: a folder with metadata is complete.

    Args:
      folder: where to; made where there is none.
      variables: {params, batch_stats}, trees of arrays.
      metadata: see `metadata.model_metadata`; the fingerprint is added.

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
    written = {"fingerprint": hashlib.sha256(data).hexdigest(), "format_version": FORMAT_VERSION}
    write_json(folder / METADATA, metadata | written)


def load_artifact(folder: epath.Path) -> Artifact:
    """Reads a model artifact: all its weights. For what is known about it, `read_metadata` is enough.

    Raises:
      UserError: there is none, or its weights are not those that were written.
    """
    metadata = read_metadata(folder)
    path = folder / WEIGHTS
    if not is_file(path):
        raise UserError(f"{folder} has {METADATA}, but {WEIGHTS} is missing: copy the whole folder again")
    if is_bucket(path):  # fetched once
        data = path.read_bytes()
        _check_fingerprint(hashlib.sha256(data).hexdigest(), metadata, path)
        flat = safetensors.numpy.load(data)
    else:  # array by array: the largest model fills a third of its machine's memory once
        _check_fingerprint(file_sha256(path), metadata, path)
        flat = safetensors.numpy.load_file(path)
    variables = unflatten_dict(flat, sep="/")
    return Artifact({"params": {}, "batch_stats": {}} | variables, metadata, folder)


def _check_fingerprint(fingerprint: str, metadata: dict, path: epath.Path) -> None:
    if fingerprint != metadata["fingerprint"]:
        raise UserError(
            f"{path} is damaged: its SHA-256 is not the fingerprint in {METADATA}. Copy the folder again from where "
            "it came; without a copy, delete the folder, and the run that made it writes it again from its last "
            "checkpoint"
        )


def describe_differences(have: Mapping[str, tuple], want: Mapping[str, tuple], limit: int = 20) -> str:
    """The first `limit` missing, surplus and misshapen arrays of {name: shape}; empty where there is none."""
    problems = [f"missing {key}" for key in sorted(want.keys() - have.keys())]
    problems += [f"surplus {key}" for key in sorted(have.keys() - want.keys())]
    problems += [
        f"{key} is {have[key]}, not {want[key]}" for key in sorted(want.keys() & have.keys()) if have[key] != want[key]
    ]
    if len(problems) > limit:
        problems[limit:] = [f"and {len(problems) - limit} more"]
    return "; ".join(problems)
