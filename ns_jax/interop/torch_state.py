"""State dicts of timm: .safetensors (no PyTorch needed), and .pth, which PyTorch reads."""

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import read_json, write_bytes
from ns_jax.interop.foreign import ForeignWeights

COUNTER = "num_batches_tracked"  # of PyTorch's batch norm; nothing here uses it
ADVPROP_MEAN_STD = (0.5, 0.5, 0.5)  # of timm's tf_efficientnet_*.ap_in1k


def _card(weights: epath.Path) -> dict:
    """What the hub's config.json beside the weights, or the file's name, says.

    Raises:
      UserError: images are resized there in a way that this project does not have.
    """
    path = weights.parent / "config.json"
    if not path.exists():
        name = weights.name.replace("-", "_")
        return {"mean": ADVPROP_MEAN_STD, "std": ADVPROP_MEAN_STD} if "_ap_" in name or ".ap_in1k" in name else {}
    config = read_json(path)
    pretrained = config.get("pretrained_cfg", {})
    if pretrained.get("interpolation", "bicubic") != "bicubic":
        raise UserError(f"{path}: images were resized by {pretrained['interpolation']} interpolation; only bicubic is known")
    card = {"architecture": config.get("architecture", "")}
    card |= {key: tuple(pretrained[key]) for key in ("mean", "std") if key in pretrained}
    if "input_size" in pretrained:
        card["resolution"] = pretrained["input_size"][-1]
    if "label_names" in config:
        card["class_names"] = list(config["label_names"])
    return card


def _foreign(arrays: dict, path: epath.Path) -> ForeignWeights:
    # Strings of nn.DataParallel.
    arrays = {name.removeprefix("module."): value for name, value in arrays.items() if not name.endswith(COUNTER)}
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    return ForeignWeights("timm", shapes, lambda name: np.asarray(arrays[name]), str(path), _card(path))


def read_safetensors(path: epath.Path, ema: bool) -> ForeignWeights:
    """Raises UserError for a damaged file."""
    del ema  # such files hold one set of weights
    try:
        return _foreign(safetensors.numpy.load_file(path), path)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error})") from None


def write_safetensors(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes timm's names, with the counters that its strict loading wants."""
    del artifact
    counters = {name.replace("running_mean", COUNTER): np.zeros((), np.int64)
                for name in arrays if name.endswith("running_mean")}  # fmt: skip
    write_bytes(path, safetensors.numpy.save(arrays | counters, metadata={"format": "pt"}))


def read_pth(path: epath.Path, ema: bool) -> ForeignWeights:
    """A state dict, or a training checkpoint of timm, which holds state_dict and state_dict_ema.

    Raises:
      UserError: PyTorch is missing, or the file is not one of its.
    """
    try:
        import torch
    except ImportError:
        raise UserError(f"{path}: reading .pth needs PyTorch (pip install torch); the same weights as .safetensors "
                        "do not") from None  # fmt: skip
    try:
        state = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise many kinds
        raise UserError(f"{path} is not a PyTorch state dict ({type(error).__name__})") from None
    if "state_dict" in state:
        if ema and "state_dict_ema" not in state:
            raise UserError(f"{path} is a training checkpoint without EMA weights: ema=False takes the raw ones")
        state = state["state_dict_ema" if ema else "state_dict"]
    return _foreign({name: value.numpy() for name, value in state.items() if hasattr(value, "numpy")}, path)
