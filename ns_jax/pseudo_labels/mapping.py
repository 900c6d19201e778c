"""Memory-mapped `.npy` files that hold no file descriptor.

A file stays mapped after its descriptor is closed, but Python's `mmap` keeps a duplicate of it (up to 3.12), and a
process may have no more than 1,024 by default: a label store of ImageNet-21k or larger has more shards than that.
The call to the C library is therefore made here.
"""

import ctypes
import functools
import io
import math
import mmap
import os
import weakref
from typing import Literal, NamedTuple

import numpy as np

_FAILED = ctypes.c_void_p(-1).value


@functools.cache
def _libc() -> ctypes.CDLL:
    """The C library, with the types of the two functions that are called."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    # Address, length, protection, flags, descriptor, offset (off_t: 64 bits on Linux and macOS).
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def map_file(path: str) -> np.ndarray:
    """Maps a file that is not empty: uint8 [size], read-only. It is unmapped when the last array of it is gone.

    Raises:
      OSError: it cannot be opened or mapped.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        address = _libc().mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    buffer = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(buffer, _libc().munmap, address, size).atexit = False
    data = np.frombuffer(memoryview(buffer), np.uint8)
    data.flags.writeable = False  # the pages are: a write would end the process
    return data


def map_npy(path: str) -> np.ndarray:
    """Maps the array in a `.npy` file, read-only.

    Raises:
      ValueError, EOFError and what Python raises for sources that it cannot parse: not a whole file of this kind.
      OSError: it cannot be opened or mapped.
    """
    if os.path.getsize(path) < len(np.lib.format.MAGIC_PREFIX) + 6:
        raise ValueError("it is too short")
    data = map_file(path)
    layout = _layout(_header(data))
    stop = layout.offset + layout.dtype.itemsize * math.prod(layout.shape)
    if stop > len(data):
        raise ValueError(f"it has {len(data)} bytes of {stop}")
    if stop == layout.offset:
        return np.empty(layout.shape, layout.dtype)
    return data[layout.offset : stop].view(layout.dtype).reshape(layout.shape, order=layout.order)


class _Layout(NamedTuple):
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype
    offset: int


def _header(data: np.ndarray) -> bytes:
    """What stands before the array in a file: magic string, version, length and description."""
    length, size = ("<H", 2) if data[6] == 1 else ("<I", 4)
    stop = 8 + size + int(np.frombuffer(data[8 : 8 + size].tobytes(), length)[0])
    if stop > len(data):
        raise ValueError("its header is not whole")
    return data[:stop].tobytes()


@functools.lru_cache(256)  # shards of as many images have the same one, and NumPy takes 0.1 ms to parse it
def _layout(header: bytes) -> _Layout:
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is of version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("it holds no plain numbers")
    return _Layout(shape, "F" if is_fortran else "C", dtype, len(header))
