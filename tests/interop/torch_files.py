"""Files as torch.save writes them, made without PyTorch from its format: for tests of the reader."""

import io
import pickle
import struct
import zipfile
from typing import NamedTuple

import numpy as np

from ns_jax.interop.torch_file import MAGIC, PROTOCOL, STORAGES

CLASSES = {dtype: name for name, dtype in STORAGES.items()}
MACHINE = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Global:
    """Something that a pickle names, whether it exists here or not."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self):
        raise AssertionError("pickled by name only")


class Call:
    """A call of a Global in a pickle."""

    def __init__(self, function: Global, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Place(NamedTuple):
    """A storage as a pickle refers to it; `length` as it says."""

    key: str
    dtype: np.dtype
    length: int


class _Pickler(pickle._Pickler):
    """The Python pickler, which can name what it cannot import."""

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Place):
            self.save(("storage", Global("torch", CLASSES[value.dtype]), value.key, "cpu", value.length, *self.view))
            self.write(pickle.BINPERSID)
        elif isinstance(value, Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        else:
            super().save(value, save_persistent_id)


def pickled(value, is_legacy: bool) -> bytes:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol=2)
    pickler.view = (None,) if is_legacy else ()  # a view of a storage, of PyTorch before 0.4
    pickler.dump(value)
    return buffer.getvalue()


def tensor(place: Place, offset: int, shape, strides, function: str = "_rebuild_tensor_v2") -> Call:
    """A tensor in a pickle; strides in elements."""
    rest = () if function == "_rebuild_tensor" else (False, {})
    return Call(Global("torch._utils", function), place, offset, tuple(shape), tuple(strides), *rest)


def whole(key: str, array: np.ndarray) -> Call:
    """A contiguous tensor with a storage of its own."""
    strides = [stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides]
    return tensor(Place(key, array.dtype, array.size), 0, array.shape, strides)


def legacy_file(content, storages: dict[str, np.ndarray]) -> bytes:
    """The format before PyTorch 1.6."""
    parts = [pickled(part, True) for part in (MAGIC, PROTOCOL, MACHINE, content, sorted(storages))]
    for key in sorted(storages):
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    return b"".join(parts)


def zip_file(content, storages: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED, **extra: bytes) -> bytes:
    """The format since PyTorch 1.6. `extra`: further members, or other contents of those."""
    members = {"data.pkl": pickled(content, False), "byteorder": b"little"}
    members |= {f"data/{key}": array.tobytes() for key, array in storages.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in (members | {"version": b"3\n"} | extra).items():
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue()


WRITERS = {"legacy": legacy_file, "zip": zip_file}


def state_dict_file(arrays: dict[str, np.ndarray], writer) -> bytes:
    """A state dict of contiguous tensors."""
    keys = {name: str(index) for index, name in enumerate(arrays)}
    content = {name: whole(keys[name], array) for name, array in arrays.items()}
    return writer(content, {keys[name]: array for name, array in arrays.items()})
