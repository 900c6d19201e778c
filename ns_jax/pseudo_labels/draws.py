"""Random numbers that belong to an image, whatever its place in a data set."""

import hashlib

import numpy as np


def draw_by_id(ids: np.ndarray, seed: int) -> np.ndarray:
    """A random number per id, uint64 [N], that depends on (seed, id) alone.

    Args:
      ids: byte strings [N].
      seed: 64 bits, signed.
    """
    salt = seed.to_bytes(8, "little", signed=True)
    digests = (hashlib.blake2b(image_id, digest_size=8, key=salt).digest() for image_id in ids.tolist())
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)
