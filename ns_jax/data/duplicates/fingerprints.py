"""Fingerprints of images: of their stored bytes, of their pixels, and of what they look like.

Images are read once, in parallel, and only their fingerprints are kept: 48 bytes an image.
"""

import hashlib
import io
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from etils import epath

from ns_jax.data.decode import decode_image
from ns_jax.data.pipeline import parallel_map
from ns_jax.data.sources.base import Source, identity_of
from ns_jax.errors import UserError
from ns_jax.files import write_bytes

# A digest is the first half of a SHA-256, as text of fixed length: NumPy sorts it. NO_DIGEST: nothing is stored.
DIGEST = "S16"
NO_DIGEST = b""
FINGERPRINT = np.dtype([("index", "<i8"), ("stored", DIGEST), ("pixels", DIGEST), ("perceptual", "<u8")])
REPORT_EVERY = 64  # images


def perceptual_hash() -> tuple[Callable[[np.ndarray], int], str]:
    """The perceptual hash of an image, uint8 [H, W, 3] to an integer of 64 bits; and its name with its version.

    It is the sign pattern of the lowest frequencies of the image in grey, 32 x 32 pixels large (pHash).

    Raises:
      UserError: ImageHash is not installed.
    """
    try:
        import imagehash
        import PIL.Image
    except ImportError:
        raise UserError(
            "near-duplicates need the package ImageHash: pip install 'ns_jax[deduplicate]' (or --distance=-1: equal "
            "bytes and pixels alone)"
        ) from None

    def compute(image: np.ndarray) -> int:
        bits = imagehash.phash(PIL.Image.fromarray(image)).hash
        return int.from_bytes(np.packbits(bits).tobytes(), "big")

    return compute, f"ImageHash {imagehash.__version__} phash"


def fingerprints(source: Source, distance: int, progress: Callable[[int], None] = lambda done: None) -> np.ndarray:
    """Computes the fingerprints of the images that decode.

    Args:
      source: of images; arrays of another shape have no perceptual hash.
      distance: below 0: no perceptual hashes.
      progress: is told now and then how many images are done.

    Returns:
      FINGERPRINT [N], ascending by index. The other images are broken.

    Raises:
      UserError: ImageHash is missing, or the source does not hold images.
    """
    compute = perceptual_hash()[0] if distance >= 0 else None
    # A source of one's own may lack what the contract does not ask for.
    encoded = getattr(source, "encoded", None)

    def read(index):
        if encoded is None:
            return index, tf.constant(b""), source.load(index)[0]
        content = encoded(index)
        return index, content, decode_image(content)

    def describe(index, content, image):
        stored = NO_DIGEST if encoded is None else _digest(content)
        pixels = _digest(f"{image.dtype} {image.shape} ".encode(), np.ascontiguousarray(image))
        return np.array((index, stored, pixels, compute(image) if compute else 0), FINGERPRINT).tobytes()

    def describe_in_graph(index, content, image):
        return tf.numpy_function(describe, [index, content, image], tf.string)

    # Only what cannot be read is left out: an error in `describe` is one of this program.
    images = parallel_map(tf.data.Dataset.range(source.count), read).ignore_errors()
    if compute:
        _check_images(source, images.element_spec[2])
    records = []
    for record in parallel_map(images, describe_in_graph).as_numpy_iterator():
        records.append(record)
        if len(records) % REPORT_EVERY == 0:
            progress(len(records))
    return np.frombuffer(b"".join(records), FINGERPRINT)


def stored_fingerprints(
    source: Source, distance: int, beside: epath.Path, progress: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """As `fingerprints`, kept in a file next to `beside` where the source can tell that its files have changed.

    Raises:
      UserError: as `fingerprints`, or the file is damaged.
    """
    if not source.stamp:
        return fingerprints(source, distance, progress)
    method = perceptual_hash()[1] if distance >= 0 else "none"
    key = repr([source.name, identity_of(source), source.stamp, method])
    path = beside.with_name(f"{beside.name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy")
    if not path.exists():
        records = fingerprints(source, distance, progress)
        content = io.BytesIO()
        np.save(content, records)
        write_bytes(path, content.getvalue())
        return records
    try:
        records = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (ValueError, EOFError):
        records = None
    if records is None or records.dtype != FINGERPRINT or records.ndim != 1:
        raise UserError(f"{path} is damaged; delete it and run again")
    return records


def _digest(*parts: bytes | np.ndarray) -> bytes:
    """The first 16 bytes of the SHA-256 of some parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()[:16]


def _check_images(source: Source, spec: tf.TensorSpec) -> None:
    """Raises UserError unless a source gives uint8 [H, W, 3]."""
    is_image = spec.shape.rank in (None, 3) and spec.shape[-1:] in ((None,), (3,))  # as far as it is known
    if spec.dtype != tf.uint8 or not is_image:
        raise UserError(
            f"{source.name} holds {spec.dtype.name} arrays of shape {spec.shape}, not images, which are uint8 "
            "[H, W, 3]: with --distance=-1 they are compared number by number"
        )
