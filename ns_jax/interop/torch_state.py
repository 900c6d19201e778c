"""State dicts of timm: .safetensors (no PyTorch needed), and .pth and .pth.tar, which PyTorch reads."""

import argparse
import json

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from ns_jax.artifact.weights import CARD, EMBEDDED
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_bytes
from ns_jax.interop.foreign import ForeignWeights

COUNTER = "num_batches_tracked"  # of PyTorch's batch norm; nothing here uses it


def _card(weights: epath.Path) -> dict:
    """What the hub's config.json beside the weights says.

    Raises:
      UserError: images are resized there in a way that this project does not have.
    """
    path = weights.parent / "config.json"
    if not path.exists():
        return {}
    config = read_json(path)
    pretrained = config.get("pretrained_cfg", {})
    if pretrained.get("interpolation", "bicubic") != "bicubic":
        raise UserError(
            f"{path}: images were resized by {pretrained['interpolation']} interpolation; only bicubic is known"
        )
    card = {"architecture": config.get("architecture", "")}
    card |= {key: tuple(pretrained[key]) for key in ("mean", "std") if key in pretrained}
    if "input_size" in pretrained:
        card["resolution"] = pretrained["input_size"][-1]
    if "label_names" in config:
        card["class_names"] = list(config["label_names"])
    return card


def _foreign(arrays: dict, path: epath.Path, card: dict) -> ForeignWeights:
    if any(name.startswith("params/") for name in arrays):
        raise UserError(f"{path} is of a model folder of this project, whose {CARD} is missing")
    # Strings of nn.DataParallel.
    arrays = {name.removeprefix("module."): value for name, value in arrays.items() if not name.endswith(COUNTER)}
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    return ForeignWeights("timm", shapes, lambda name: np.asarray(arrays[name]), str(path), card)


def read_safetensors(path: epath.Path, ema: bool) -> ForeignWeights:
    """Raises UserError for a damaged file."""
    del ema  # such files hold one set of weights
    try:
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
        card = json.loads(metadata[EMBEDDED]) if EMBEDDED in metadata else _card(path)
        return _foreign(safetensors.numpy.load_file(path), path, card)
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error})") from None


def write_safetensors(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes timm's names, with the counters that its strict loading wants, and the card among the metadata."""
    counters = {
        name.replace("running_mean", COUNTER): np.zeros((), np.int64)
        for name in arrays
        if name.endswith("running_mean")
    }
    metadata = {"format": "pt", EMBEDDED: artifact.embedded_card()}
    write_bytes(path, safetensors.numpy.save(arrays | counters, metadata=metadata))


def read_pth(path: epath.Path, ema: bool) -> ForeignWeights:
    """A state dict, or a training checkpoint of timm, which holds state_dict, state_dict_ema, arch and args.

    Raises:
      UserError: PyTorch is missing, or the file is not one of its.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: reading .pth needs PyTorch (pip install torch); the same weights as .safetensors do not"
        ) from None
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # of a training checkpoint's args
            state = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise many kinds
        raise UserError(f"{path} is not a PyTorch state dict ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a PyTorch state dict ({type(state).__name__})")
    card = _card(path)
    if "state_dict" in state:
        card |= {"architecture": state.get("arch", "")}
        if ema and "state_dict_ema" not in state:
            raise UserError(f"{path} is a training checkpoint without EMA weights: ema=False takes the raw ones")
        state = state["state_dict_ema" if ema else "state_dict"]
    return _foreign({name: value.numpy() for name, value in state.items() if hasattr(value, "numpy")}, path, card)
