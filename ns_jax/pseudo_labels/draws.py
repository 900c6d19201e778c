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


def draw_share(copies: np.ndarray, random: np.ndarray, share: float) -> np.ndarray:
    """Copies of a random share of a finished selection, uint32 [N] (the study of the amount of data, v1 Table 8).

    k copies become k * share, rounded up with the probability of the fraction that is left. The classes keep their
    proportions, and a larger share has at least the copies of a smaller one.

    Args:
      copies: uint32 [N].
      random: uint64 [N], see `draw_by_id`. Only the lower half is used: balancing orders images by the upper one.
      share: in (0, 1].
    """
    wanted = copies * np.float64(share)
    whole = np.floor(wanted)
    chance = (random & np.uint64(2**32 - 1)) / np.float64(2**32)
    return (whole + (chance < wanted - whole)).astype(np.uint32)
