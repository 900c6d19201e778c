"""The .npz files of efficientnet-jax: a list of names, and arrays '0', '1', ... in PyTorch's layout."""

import io
import math
from typing import Any

import numpy as np
from etils import epath

from ns_jax.artifact.metadata import EMBEDDED, embedded_metadata, parse_embedded
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.interop.foreign import ForeignWeights, foreign_names
from ns_jax.models.registry import get_architecture

# Kind of a layer to the name of its class there.
TYPES = {"conv": "Conv2d", "depthwise": "Conv2d", "conv_bias": "Conv2d", "dense": "Linear", "bn": "BatchNorm2d"}


MAX_TEXT = 1 << 26  # bytes of names or metadata: those of the largest model take less than one


def _shape(file, name: str) -> tuple[int, ...]:
    """Shape of an array in an open .npz file; its data is not read.

    Raises:
      ValueError: its data are not as long as its header says.
    """
    member_name = f"{name}.npy"
    with file.zip.open(member_name) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        want, have = math.prod(shape) * dtype.itemsize, file.zip.getinfo(member_name).file_size - member.tell()
        if have != want:
            raise ValueError(f"array {name} has {have} of {want} bytes")
        return shape


def _text(file, name: str) -> np.ndarray:
    """An array of text in an open .npz file. Raises ValueError for one that would fill the memory."""
    if file.zip.getinfo(f"{name}.npy").file_size > MAX_TEXT:
        raise ValueError(f"{name} is larger than {MAX_TEXT} bytes")
    return file[name]


def read_npz(path: epath.Path, ema: bool) -> ForeignWeights:
    """Reads names and shapes; arrays are read when they are asked for.

    Raises:
      UserError: it is not a file of efficientnet-jax (also when an array is read later).
    """
    del ema  # such files hold one set of weights

    def readable(function, *arguments):
        try:
            return function(*arguments)
        except Exception as error:  # numpy, zipfile and the decompressors raise many kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{path} is not an .npz file of efficientnet-jax ({reason})") from None

    file = readable(np.load, path)
    names = readable(lambda: [str(name) for name in _text(file, "names")])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} has two arrays of the name {twice}")
    key_of = {name: str(index) for index, name in enumerate(names)}
    shapes = {name: readable(_shape, file, key) for name, key in key_of.items()}
    unnamed = set(file.files) - set(key_of.values()) - {"names", "types", EMBEDDED}
    if unnamed:
        raise UserError(f"{path} has {len(unnamed)} arrays without a name, first {min(unnamed)!r}")
    metadata = {}
    if EMBEDDED in file.files:
        metadata = parse_embedded(readable(lambda: str(_text(file, EMBEDDED))), path)
    return ForeignWeights("npz", shapes, lambda name: readable(file.__getitem__, key_of[name]), str(path), metadata)


def write_npz(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes names, types and arrays as efficientnet-jax does, and the metadata, which it does not look at."""
    known = foreign_names(get_architecture(artifact.metadata["variant"]), "npz").values()
    kinds = {name.name: name.kind for name in known}
    buffer = io.BytesIO()
    contents: dict[str, Any] = {
        "names": np.array(list(arrays)),
        "types": np.array([TYPES[kinds[name]] for name in arrays]),
        EMBEDDED: np.array(embedded_metadata(artifact.metadata)),
    }
    contents |= {str(index): value for index, value in enumerate(arrays.values())}
    np.savez(buffer, **contents)
    write_bytes(path, buffer.getvalue())
