"""How many pixels an image says that it has: 48 kB can ask for gigabytes. TensorFlow graph code."""

import os

import tensorflow as tf

from ns_jax.errors import UserError

LIMIT = "NS_JAX_MAX_PIXELS"  # environment variable that raises the limit
DEFAULT_LIMIT = 2**30 // 4 // 3 * 2  # 178,956,970: from where on Pillow refuses an image
HEADER = 34  # bytes; in none of the formats here the size lies behind them


def max_pixels() -> int:
    """Pixels that an image may have. Raises UserError where $NS_JAX_MAX_PIXELS is no number above 0."""
    text = os.environ.get(LIMIT, str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**62):
        raise UserError(f"{LIMIT}={text!r} is no number of pixels")
    return int(text)


def too_large(num_pixels) -> str:
    """What to say of an image of so many pixels, a number or text."""
    return f"{num_pixels} pixels, more than {max_pixels()}: set {LIMIT} to allow as many"


def header_of(encoded):
    """The first bytes of a file, int64 [HEADER], zeros behind its end."""
    padded = tf.strings.join([tf.strings.substr(encoded, 0, HEADER), "\0" * HEADER])
    return tf.cast(tf.io.decode_raw(tf.strings.substr(padded, 0, HEADER), tf.uint8), tf.int64)


def starts_with(header, start: bytes, at: int = 0):
    """Whether the bytes of `header_of` hold `start` at a place, a boolean scalar."""
    return tf.reduce_all(header[at : at + len(start)] == tf.constant(list(start), tf.int64))


def little_endian(header, at: int, num_bytes: int):
    """The unsigned number at a place of `header_of`, an int64 scalar."""
    return tf.reduce_sum(header[at : at + num_bytes] * [256**place for place in range(num_bytes)])


def _big_endian(header, at: int, num_bytes: int):
    return tf.reduce_sum(header[at : at + num_bytes] * [256**place for place in reversed(range(num_bytes))])


def refuse_too_large(encoded):
    """Returns `encoded`, the bytes of a JPEG, PNG, GIF or BMP; in a graph, it fails where that has too many pixels.

    Raises:
      tf.errors.InvalidArgumentError: it has.
    """
    header = header_of(encoded)

    def of_jpeg():
        shape = tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)
        return shape[0] * shape[1]

    def of_bmp():
        height = little_endian(header, 22, 4)
        return little_endian(header, 18, 4) * tf.minimum(height, 2**32 - height)  # negative: from the top down

    pixels = tf.case(
        [
            (starts_with(header, b"\xff\xd8\xff"), of_jpeg),
            (starts_with(header, b"\x89PNG"), lambda: _big_endian(header, 16, 4) * _big_endian(header, 20, 4)),
            (starts_with(header, b"GIF8"), lambda: little_endian(header, 6, 2) * little_endian(header, 8, 2)),
            (starts_with(header, b"BM"), of_bmp),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )
    limit = max_pixels()
    # Numbers of 32 bits each: their product may be negative.
    check = tf.debugging.Assert((pixels >= 0) & (pixels <= limit), [too_large("the image has"), pixels])
    with tf.control_dependencies([] if check is None else [check]):  # None: not in a graph, it has been checked
        return tf.identity(encoded)
