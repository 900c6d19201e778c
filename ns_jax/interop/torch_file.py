"""Files of torch.save, read without PyTorch.

A file is a pickle that names tensors, and their bytes beside it: since PyTorch 1.6 a ZIP archive (data.pkl, and
data/KEY for each storage), before that pickles in sequence (a magic number, a protocol version, facts about the
machine, the object, the keys of its storages) with the storages' bytes behind them. A pickle can call any function
that it names; here it may name those that make up tensors and dicts, and no others.

Source of both layouts: torch/serialization.py of PyTorch.
"""

import collections
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import ml_dtypes
import numpy as np
from etils import epath

from ns_jax.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
ZIP_START = b"PK\x03\x04"
STORAGES = {  # class that a pickle names -> dtype of its elements
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
    "ComplexFloatStorage": np.dtype(np.complex64),
    "ComplexDoubleStorage": np.dtype(np.complex128),
}
OTHER_TENSORS = ("_rebuild_sparse", "_rebuild_nested", "_rebuild_qtensor", "_rebuild_meta_tensor")  # beginnings


# A pickle can change attributes of objects that it has made (its opcode BUILD): those of tuples it cannot.
class Storage(NamedTuple):
    """Elements in a row, of which tensors are views.

    Attributes:
      key: its name in the file.
      dtype: of the elements.
      length: number of elements.
    """

    key: str
    dtype: np.dtype
    length: int

    @property
    def num_bytes(self) -> int:
        return self.length * self.dtype.itemsize


class Tensor(NamedTuple):
    """A view of a storage: element (i, j, ...) is number offset + i * strides[0] + j * strides[1] + ... of it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        return self.storage.dtype


class TorchFile:
    """What torch.save has written.

    Attributes:
      content: the object, with a Tensor in place of each tensor. OrderedDict and argparse.Namespace are dicts.
    """

    def __init__(self, path: epath.Path):
        """Reads everything but the tensors' elements, whose places and sizes are checked.

        Raises:
          UserError: the file is damaged, cut short, or holds something other than tensors (which is named).
        """
        self._path = path
        self._read: Callable[[Storage], bytes]
        self._last: tuple[Storage, np.ndarray] | None = None
        try:
            with path.open("rb") as file:
                is_zip = file.read(len(ZIP_START)) == ZIP_START
            self.content = self._open_zip() if is_zip else self._open_legacy()
        except UserError:
            raise
        except Exception as error:  # pickle and zipfile raise many kinds
            raise UserError(
                f"{path} is not a PyTorch state dict that can be read ({type(error).__name__}): it is of another "
                "format, damaged or cut short"
            ) from None

    def array(self, tensor: Tensor) -> np.ndarray:
        """A copy of a tensor's elements, in its dtype. Raises UserError where the file has changed or is damaged."""
        if self._last is None or self._last[0] is not tensor.storage:
            try:
                data = self._read(tensor.storage)
            except (OSError, EOFError, zipfile.BadZipFile) as error:
                self._refuse(f"is damaged ({' '.join(str(error).split())}): download or copy it again")
            if len(data) != tensor.storage.num_bytes:
                self._refuse("was cut short while it was read")
            self._last = (tensor.storage, np.frombuffer(data, tensor.dtype))
        strides = [stride * tensor.dtype.itemsize for stride in tensor.strides]
        elements = self._last[1][tensor.offset :]
        return np.array(np.lib.stride_tricks.as_strided(elements, tensor.shape, strides, writeable=False))

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{self._path} {reason}")

    # Formats ---------------------------------------------------------------------------------------------------

    def _open_zip(self) -> Any:
        size = self._path.stat().length
        try:
            archive = zipfile.ZipFile(str(self._path))
        except zipfile.BadZipFile:  # its directory is at the end
            self._refuse("is cut short or damaged: download or copy it again")
        members = {info.filename: info for info in archive.infolist()}
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                self._refuse(f"has compressed or encrypted data ({_short(info.filename)}), which torch.save never has")
            if info.header_offset + info.file_size > size:
                self._refuse("is cut short or damaged: download or copy it again")
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            self._refuse("is a ZIP archive, but not one of torch.save (it has no data.pkl)")
        root = pickles[0].removesuffix("data.pkl")
        if members.get(f"{root}byteorder") and archive.read(f"{root}byteorder") != b"little":
            self._refuse("was written on a big-endian machine: save it on another one")
        storages: dict[str, Storage] = {}

        def add(key: str, dtype: np.dtype, length: int) -> Storage:
            storage = Storage(key, dtype, length)
            info = members.get(f"{root}data/{key}")
            have = info.file_size if info else 0
            if info is None or have != storage.num_bytes:
                self._refuse(f"is damaged: it has {have} of the {storage.num_bytes} bytes of storage {_short(key)}")
            return storages.setdefault(key, storage)

        self._read = lambda storage: archive.read(f"{root}data/{storage.key}")  # checks the CRC
        with archive.open(pickles[0]) as file:
            return self._unpickler(file, add).load()

    def _open_legacy(self) -> Any:
        storages: dict[str, Storage] = {}

        def add(key: str, dtype: np.dtype, length: int) -> Storage:
            return storages.setdefault(key, Storage(key, dtype, length))

        size = self._path.stat().length
        with self._path.open("rb") as file:
            if self._unpickler(file, add).load() != MAGIC:
                self._refuse("is not a file of torch.save")
            if (version := self._unpickler(file, add).load()) != PROTOCOL:
                self._refuse(f"has version {_short(str(version))} of torch.save's format, and {PROTOCOL} is known")
            machine = self._unpickler(file, add).load()
            if not isinstance(machine, dict) or machine.get("little_endian") is not True:
                self._refuse("was written on a big-endian machine: save it on another one")
            content = self._unpickler(file, add).load()
            keys = self._unpickler(file, add).load()
            places: dict[str, int] = {}
            if not isinstance(keys, list) or sorted(keys) != sorted(storages):
                self._refuse("is damaged: the keys of its storages are not those of its tensors")
            for key in keys:
                storage = storages[key]
                header = file.read(8)
                places[key] = file.tell()
                end = places[key] + storage.num_bytes
                if len(header) < 8 or end > size:
                    self._refuse(
                        f"is cut short: it has {size} bytes, and storage {_short(key)} of its tensors ends at "
                        f"{end}: download or copy it again"
                    )
                if struct.unpack("<q", header)[0] != storage.length:
                    self._refuse(f"is damaged: storage {_short(key)} has not the size that its tensors name")
                file.seek(end)

        def read(storage: Storage) -> bytes:
            with self._path.open("rb") as file:
                file.seek(places[storage.key])
                return file.read(storage.num_bytes)

        self._read = read
        return content

    # Pickle ----------------------------------------------------------------------------------------------------

    def _unpickler(self, file, add: Callable[[str, np.dtype, int], Storage]) -> pickle.Unpickler:
        """An unpickler of one object. `add` makes or finds the storage of a key, dtype and number of elements."""

        def storage_of(kind, storage_class, key, location, length, view=None) -> tuple[Storage, int]:
            """The storage, and the first of its elements that is meant."""
            del location
            dtype = STORAGES[storage_class.name]
            if kind != "storage" or type(key) is not str or not _is_count(length):
                raise pickle.UnpicklingError("a tensor's storage is wrongly described")
            storage = add(key, dtype, length)
            if storage != Storage(key, dtype, length):
                raise pickle.UnpicklingError("a storage is described in two ways")
            return storage, 0 if view is None else view[1]

        def tensor(storage, offset, shape, strides, *rest) -> Tensor:
            """PyTorch's _rebuild_tensor and _rebuild_tensor_v2; whether it has a gradient does not matter here."""
            elements, start = storage
            shape, strides = tuple(shape), tuple(strides)
            numbers = (offset, start, *shape, *strides)
            are_right = len(shape) == len(strides) and all(_is_count(number) for number in numbers)
            if type(elements) is not Storage or not are_right:
                raise pickle.UnpicklingError("a tensor is wrongly described")
            if 0 in shape:
                return Tensor(elements, 0, shape, strides)
            last = start + offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
            if last >= elements.length:
                raise pickle.UnpicklingError("a tensor is larger than its storage")
            return Tensor(elements, start + offset, shape, strides)

        def parameter(data, requires_grad, hooks) -> Tensor:
            """PyTorch's _rebuild_parameter."""
            return data

        admitted: dict[str, Any] = {f"torch.{name}": _StorageClass(name) for name in STORAGES}
        admitted |= {
            "collections.OrderedDict": collections.OrderedDict,
            "argparse.Namespace": collections.OrderedDict,  # of a training checkpoint's arguments, which are not read
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor": tensor,
            "torch._utils._rebuild_tensor_v2": tensor,
            "torch._utils._rebuild_parameter": parameter,
        }
        return _Unpickler(file, admitted, lambda pid: storage_of(*pid), self._path)


class _StorageClass(NamedTuple):
    """Stands for a class of STORAGES in a pickle."""

    name: str


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows a few names, and asks `storage_of` for what is beside the pickle."""

    def __init__(self, file, admitted: Mapping[str, Any], storage_of: Callable[[Any], Any], path: epath.Path):
        super().__init__(file, encoding="utf-8")
        self._admitted = admitted
        self._storage_of = storage_of
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in self._admitted:
            return self._admitted[full]
        if module == "torch._utils" and name.startswith(OTHER_TENSORS):
            raise UserError(
                f"{self._path} has sparse, quantised, nested or empty (meta) tensors: save it with dense floats"
            )
        raise UserError(
            f"{self._path} holds more than tensors: it names {_short(full)}, which is not loaded. Save the model's "
            "state_dict() alone"
        )

    def persistent_load(self, pid: Any) -> Any:
        return self._storage_of(pid)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _short(text: str) -> str:
    """Text of a file for a message, on one line."""
    text = " ".join(repr(text)[1:-1].split())
    return text if len(text) <= 80 else f"{text[:77]}..."
