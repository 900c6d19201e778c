"""Source 'corrupted:SIZE[+MARGIN]:SOURCE': every image of a source with 15 corruptions at 5 severities.

The centre square of SIZE / (SIZE + MARGIN) of the shorter side is resized to SIZE pixels and then corrupted: with
224+32 as ImageNet-C was made, but for its JPEG files. An image is corrupted alike wherever and whenever it is read: all
randomness comes from its id, the corruption and the severity.
"""

import functools

import numpy as np
import tensorflow as tf

from ns_jax.data.corruptions.corrupt import corrupt, generator_of
from ns_jax.data.corruptions.tables import CORRUPTIONS, SEVERITIES
from ns_jax.data.sources.base import Part, Source
from ns_jax.data.sources.changed import open_original, parse, square
from ns_jax.data.views import View

SEED = 0


def open_corrupted(rest: str, data_dir: str) -> Source:
    """Opens the copies, one corruption and severity after the other.

    Raises:
      UserError: the string has another form, or the other source cannot be opened or has no classes.
    """
    size, margin, name = parse("corrupted", rest)
    return copies(rest, size, margin, open_original("corrupted", name, data_dir))


def copies(rest: str, size: int, margin: int, original: Source) -> Source:
    """The source 'corrupted:REST' of the images of `original`; size and margin in pixels, as REST has them."""
    view, count = View(size, margin), original.count
    kinds = [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]
    prefixes = np.array([f"{corruption}/{severity}/".encode() for corruption, severity in kinds])

    def change(image, index):
        corruption, severity = kinds[int(index) // count]
        id_of_image = original.ids(np.array([int(index) % count]))[0]
        return corrupt(image, corruption, severity, generator_of(SEED, id_of_image, corruption, str(severity)))

    def load(index, window=None):
        del window  # the images are square already, and of the size at which they are wanted
        index = tf.cast(index, tf.int64)
        image, label = square(original, index % count, view)
        image = tf.numpy_function(change, [image, index], tf.uint8, stateful=False)
        image.set_shape([size, size, 3])
        return image, label

    def ids(indices):
        indices = np.asarray(indices)
        return np.char.add(prefixes[indices // count], original.ids(indices % count))

    return Source(
        name=f"corrupted:{rest}",
        count=count * len(kinds),
        class_names=tuple(original.class_names),
        load=load,
        ids=ids,
        stamp=original.stamp,
        parts=tuple(
            Part(prefix.decode()[:-1], place * count, (place + 1) * count) for place, prefix in enumerate(prefixes)
        ),
        original=original,
        with_original=functools.partial(copies, rest, size, margin),
        original_index=lambda indices: np.asarray(indices) % count,
    )
