import numpy as np

from ns_jax.data.duplicates.fingerprints import FINGERPRINT
from ns_jax.data.duplicates.matching import KINDS, find_duplicates, first_equal


def records(*rows):
    """FINGERPRINT of (index, stored, pixels, perceptual); digests are given by their first letter."""
    return np.array([(index, stored * 16, pixels * 16, hashed) for index, stored, pixels, hashed in rows], FINGERPRINT)


UNLABELED = records(
    (0, b"a", b"p", 0xF << 56),  # the same bytes as 4 of the second source
    (2, b"b", b"q", 0b1111),  # the same pixels as 7 of the first
    (3, b"c", b"r", 0b0111 << 8),  # near 5 of the second
    (5, b"d", b"s", 0xFF << 40),  # nothing of the kind
    (6, b"", b"t", 0xFF << 48),  # not stored, as 9 of the first: that makes them not equal
)
FIRST = records((7, b"x", b"q", 0b1111), (8, b"y", b"u", 0b1100 << 8), (9, b"", b"v", 0xFF << 20))
SECOND = records((4, b"a", b"p", 0xF << 56), (5, b"z", b"w", 0b0011 << 8), (6, b"a", b"p", 0xF << 56))


def test_the_strictest_kind_and_the_nearest_image():
    found = find_duplicates(UNLABELED, [FIRST, SECOND], 4, 1)
    assert [(row["index"], KINDS[row["kind"]], row["distance"], row["source"], row["equals"]) for row in found] == [
        (0, "bytes", 0, 1, 4),
        (2, "pixels", 0, 0, 7),
        (3, "near", 1, 1, 5),
    ]


def test_distance():
    assert find_duplicates(UNLABELED, [FIRST, SECOND], 0, 1)["index"].tolist() == [0, 2]
    found = find_duplicates(UNLABELED, [FIRST], 3, 1)
    assert found["index"].tolist() == [2, 3] and found["distance"].tolist() == [0, 3]
    # Without perceptual hashes, which are all 0 then, nothing is near.
    without = UNLABELED.copy(), FIRST.copy()
    for part in without:
        part["perceptual"] = 0
    assert find_duplicates(without[0], [without[1]], -1, 1)["index"].tolist() == [2]


def test_nothing_to_compare():
    for distance in (-1, 4):
        assert len(find_duplicates(UNLABELED, [FIRST[:0]], distance, 1)) == 0
        assert len(find_duplicates(UNLABELED[:0], [FIRST], distance, 1)) == 0


def test_digests_with_zero_bytes():
    """NumPy takes zero bytes at the end of a text for filling."""
    names = [b"\0" * 15 + b"a", b"a" + b"\0" * 15, b"a" * 15 + b"\0", b"\0a" + b"\0" * 14]
    digests = np.frombuffer(b"".join(names), "S16")
    assert first_equal(digests, digests).tolist() == [0, 1, 2, 3]
    assert first_equal(digests[:2], digests[2:]).tolist() == [-1, -1]
