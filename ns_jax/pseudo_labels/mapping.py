"""Memory-mapped `.npy` files that hold no file descriptor.

A file stays mapped after its descriptor is closed, but Python's `mmap` keeps a duplicate of it (up to 3.12), and a
process may have no more than 1,024 by default: a label store of ImageNet-21k or larger has more shards than that.
The call to the C library is therefore made here.
"""

import ctypes
import functools
import mmap
import os
import weakref

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
      ValueError, EOFError: not a whole file of this kind.
      OSError: it cannot be opened or mapped.
    """
    header = np.load(path, mmap_mode="r")  # checks header and length; its descriptor goes with it
    stop = header.offset + header.nbytes
    if header.dtype.itemsize == 0 or header.size == 0:
        return np.empty(header.shape, header.dtype)
    order = "F" if header.flags.fnc else "C"
    return map_file(path)[header.offset : stop].view(header.dtype).reshape(header.shape, order=order)
