"""State dicts of timm and of efficientnet_pytorch: .safetensors, and the .pth and .pth.tar of torch.save."""

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from ns_jax.artifact.metadata import EMBEDDED, METADATA, check_fields, embedded_metadata, parse_embedded
from ns_jax.errors import UserError
from ns_jax.files import is_file, read_json, write_bytes
from ns_jax.interop.foreign import ForeignWeights
from ns_jax.interop.torch_file import Tensor, TorchFile

COUNTER = "num_batches_tracked"  # of PyTorch's batch norm; nothing here uses it
LUKEMELAS = ("_conv_stem.", "_blocks.")  # begin names of efficientnet_pytorch
PARALLEL = "module."  # before every name that was saved from nn.DataParallel


def _hub_metadata(weights: epath.Path) -> dict:
    """What the hub's config.json beside the weights says: some fields of metadata, and timm's `architecture`.

    Raises:
      UserError: the file is no such config, or images are resized there in a way that this project does not have.
    """
    path = weights.parent / "config.json"
    if not is_file(path):
        return {}
    config = read_json(path)
    pretrained = config.get("pretrained_cfg", {}) if isinstance(config, dict) else None
    if not isinstance(pretrained, dict) or not isinstance(config.get("architecture", ""), str):
        raise UserError(f"{path} is not a config.json of the Hugging Face hub: move it away to use the weights alone")
    said = {key: pretrained[key] for key in ("mean", "std", "interpolation") if key in pretrained}
    if "input_size" in pretrained:
        size = pretrained["input_size"]
        said["resolution"] = size[-1] if isinstance(size, list) and size else size
    if "label_names" in config:
        said["class_names"] = config["label_names"]
    check_fields(said, path)
    for key in ("mean", "std"):
        if key in said:
            said[key] = tuple(said[key])
    return said | {"architecture": config.get("architecture", "")}


def _foreign(arrays: dict, path: epath.Path, metadata: dict, get=np.asarray) -> ForeignWeights:
    """Weights with the names of timm, or of efficientnet_pytorch.

    Args:
      arrays: {name: array or tensor}.
      path: the file.
      metadata: what it says.
      get: an array or tensor to a NumPy array.
    """
    if any(name.startswith("params/") for name in arrays):
        raise UserError(f"{path} is of a model folder of this project, whose {METADATA} is missing")
    named: dict = {}
    for name, value in arrays.items():
        short = name.removeprefix(PARALLEL)
        if short.endswith(COUNTER):
            continue
        if short in named:
            raise UserError(f"{path} has both {short} and {PARALLEL}{short}: which of them is meant is not known")
        named[short] = value
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    scheme = "efficientnet_pytorch" if any(name.startswith(LUKEMELAS) for name in named) else "timm"
    return ForeignWeights(scheme, shapes, lambda name: get(named[name]), str(path), metadata)


def read_safetensors(path: epath.Path, ema: bool) -> ForeignWeights:
    """Raises UserError for a damaged file."""
    del ema  # such files hold one set of weights
    try:
        with safetensors.safe_open(path, "np") as file:
            said = file.metadata() or {}
        arrays = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:  # the latter: unknown dtypes
        raise UserError(f"{path} is not a safetensors file that can be read ({' '.join(str(error).split())})") from None
    metadata = parse_embedded(said[EMBEDDED], path) if EMBEDDED in said else _hub_metadata(path)
    return _foreign(arrays, path, metadata)


def write_safetensors(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes timm's names, the counters that its strict loading wants, and the metadata in the file's header."""
    counters = {
        name.replace("running_mean", COUNTER): np.zeros((), np.int64)
        for name in arrays
        if name.endswith("running_mean")
    }
    header = {"format": "pt", EMBEDDED: embedded_metadata(artifact.metadata)}
    write_bytes(path, safetensors.numpy.save(arrays | counters, metadata=header))


def read_pth(path: epath.Path, ema: bool) -> ForeignWeights:
    """Reads a state dict, or a training checkpoint of timm, which holds state_dict, state_dict_ema, arch and args.

    Raises:
      UserError: the file is damaged, holds more than tensors, or is neither of them.
    """
    file = TorchFile(path)
    state = file.content
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a PyTorch state dict ({type(state).__name__})")
    metadata = _hub_metadata(path)
    if "state_dict" in state:
        architecture = state.get("arch", "")
        metadata |= {"architecture": architecture if isinstance(architecture, str) else ""}
        if ema and "state_dict_ema" not in state:
            raise UserError(f"{path} is a training checkpoint without EMA weights: ema=False takes the raw ones")
        state = state["state_dict_ema" if ema else "state_dict"]
        if not isinstance(state, dict):
            raise UserError(f"{path} is not a training checkpoint of timm ({type(state).__name__})")
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if odd := [name for name in tensors if not isinstance(name, str)]:
        raise UserError(f"{path} is not a PyTorch state dict (it names a tensor {odd[0]!r})")
    return _foreign(tensors, path, metadata, file.array)
