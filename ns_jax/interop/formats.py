"""Every format in which weights come and go, recognised by what a path holds."""

import dataclasses
from collections.abc import Callable

from etils import epath

from ns_jax.artifact.metadata import check_variant, has_artifact
from ns_jax.artifact.weights import WEIGHTS as WEIGHTS_FILE
from ns_jax.artifact.weights import Artifact, load_artifact, save_artifact
from ns_jax.buckets import check_address, explain, is_bucket
from ns_jax.errors import UserError
from ns_jax.files import is_file
from ns_jax.interop import export, hub, npz, starts, tf_checkpoint, torch_state
from ns_jax.interop.foreign import ForeignWeights, refuse_symmetric_padding, to_artifact, to_foreign
from ns_jax.interop.onnx_model import program as onnx_program


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of weights under foreign names.

    Attributes:
      scheme: of the names, see `Architecture.foreign_names`.
      read: (path, ema) -> ForeignWeights.
      write: (path, arrays by foreign name, artifact); None where nobody needs it.
    """

    scheme: str
    read: Callable[[epath.Path, bool], ForeignWeights]
    write: Callable[[epath.Path, dict, Artifact], None] | None


WEIGHTS = {
    "timm": Format("timm", torch_state.read_safetensors, torch_state.write_safetensors),
    "pth": Format("timm", torch_state.read_pth, None),
    "npz": Format("npz", npz.read_npz, npz.write_npz),
    "tf": Format("tf", tf_checkpoint.read_checkpoint, tf_checkpoint.write_checkpoint),
}
PROGRAMS = {
    "saved_model": (export.write_saved_model, export.run_saved_model),
    "stablehlo": (export.write_stablehlo, export.run_stablehlo),
    "onnx": (onnx_program.write_onnx, onnx_program.run_onnx),
}
WRITABLE = ("artifact", *(name for name, weights in WEIGHTS.items() if weights.write), *PROGRAMS)
SUFFIXES = {
    ".safetensors": "timm",
    ".pth": "pth",
    ".pt": "pth",
    ".tar": "pth",
    ".bin": "pth",
    ".npz": "npz",
    ".stablehlo": "stablehlo",
    ".onnx": "onnx",
}
KNOWN = (
    "a model folder of this project (model.json and weights.safetensors), a run's folder or its checkpoints, "
    "timm's .safetensors, .pth or .pth.tar, an official TensorFlow checkpoint (folder or prefix), "
    "efficientnet-jax's .npz, a start as efficientnet-lite0, or a name as tf_efficientnet_b0.ns_jft_in1k"
)


def recognize(path: epath.Path) -> tuple[str, epath.Path] | None:
    """(format, path of the file or folder), or None for what is none of them."""
    if has_artifact(path):
        return "artifact", path
    if path.name == WEIGHTS_FILE and has_artifact(path.parent):
        return "artifact", path.parent
    if tf_checkpoint.find_prefix(path):
        return "tf", path
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        return ("timm", files[0]) if len(files) == 1 else None
    if is_file(path) and SUFFIXES.get(path.suffix) in WEIGHTS:  # a pipe would never end
        return SUFFIXES[path.suffix], path
    return None


def path_of(path_or_name) -> epath.Path:
    """The path, whether something is there or not. Raises UserError for an address that cannot be read, as http://."""
    try:
        check_address(path_or_name)
        path = epath.Path(path_or_name)
        path.exists()
    except UserError:
        raise
    except Exception as error:  # of buckets of many kinds, and KeyError for an unknown scheme
        if explained := explain(error, path_or_name):
            raise explained from None
        if isinstance(error, OSError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path_or_name} cannot be opened ({reason}): download it, and name the file") from None
    return path


def read(path_or_name, variant: str | None = None, ema: bool = True) -> Artifact:
    """The weights at a path, or under the name of a start or of the hub.

    Args:
      path_or_name: see KNOWN.
      variant: name of a model variant; recognised where None.
      ema: moving averages rather than raw weights, where a file has both.

    Raises:
      UserError: unknown format, or weights that do not fit.
    """
    path = path_of(path_or_name)
    if not path.exists() and not epath.Path(f"{path}.index").exists():
        path = _published(str(path_or_name))
    recognized = recognize(path)
    if recognized is None:
        raise UserError(f"{path_or_name} is of no known format. A model is {KNOWN}")
    name, where = recognized
    if name != "artifact" and is_bucket(path):
        raise UserError(f"{path_or_name}: files of other libraries are not read from buckets: copy it to this machine")
    if name == "artifact":
        artifact = load_artifact(where)
        check_variant(artifact.metadata, variant, where)
        return artifact
    foreign = WEIGHTS[name].read(where, ema)
    # A hub's folder is named by a commit, and a package's by its version: the name that was asked for says more.
    return to_artifact(dataclasses.replace(foreign, where=str(path_or_name)), variant)


def _published(name: str) -> epath.Path:
    """Weights that others have published. Raises UserError for an unknown name."""
    if start := starts.find_start(name):
        return start
    repo = hub.hub_id(name)
    if repo is None:
        raise UserError(f"there is no {name}. A model is {KNOWN}")
    return hub.download(repo)


def format_of(path: epath.Path) -> str:
    """The format that the name of a file to be written asks for; a folder is an artifact."""
    return SUFFIXES.get(path.suffix, "artifact")


def check_target(path: epath.Path, name: str) -> None:
    """What can be known to be wrong before anything is written.

    Raises:
      UserError: `name` is not of WRITABLE, something is at `path` already, or its name is one by which it
        would be taken for something else.
    """
    if path.exists():
        raise UserError(f"{path} exists: nothing is overwritten, delete it or choose another name")
    if name not in WRITABLE:
        raise UserError(f"{path}: the format {name!r} is not written, only {', '.join(WRITABLE)}")
    endings = [ending for ending, of in SUFFIXES.items() if of == name and name in WEIGHTS]
    if endings and path.suffix not in endings:
        raise UserError(f"{path}: the name of a file of the format {name!r} must end in {endings[0]}")
    if name in WEIGHTS:
        refuse_symmetric_padding(WEIGHTS[name].scheme, path.name, path)


def write(path: epath.Path, artifact: Artifact, name: str) -> None:
    """Writes the format `name` of WRITABLE.

    Raises:
      UserError: as `check_target`; or the model has no names in that format.
    """
    check_target(path, name)
    if name == "artifact":
        save_artifact(path, artifact.variables, artifact.metadata)
    elif name in WEIGHTS and (write_weights := WEIGHTS[name].write):
        write_weights(path, to_foreign(artifact, WEIGHTS[name].scheme), artifact)
    else:
        PROGRAMS[name][0](path, artifact)
