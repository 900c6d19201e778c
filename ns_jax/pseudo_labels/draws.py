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


def draw_by_index(indices: np.ndarray, seed: int) -> np.ndarray:
    """As `draw_by_id`, where no ids are kept: uint64 [N] that depends on (seed, index in the source) alone.

    Arithmetic on whole arrays, in a hundredth of the time: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), of an
    index that is scattered by a constant of the seed.
    """
    salt = hashlib.blake2b(b"index", digest_size=8, key=seed.to_bytes(8, "little", signed=True)).digest()
    mixed = indices.astype(np.uint64)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed += np.uint64(int.from_bytes(salt, "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


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
    return (whole + (chances(random, upper=False) < wanted - whole)).astype(np.uint32)


def chances(random: np.ndarray, upper: bool) -> np.ndarray:
    """Numbers in [0, 1), float64 [N], of one half of random numbers, uint64 [N]: draws by different halves are free of
    each other."""
    half = random >> np.uint64(32) if upper else random & np.uint64(2**32 - 1)
    return half / np.float64(2**32)
