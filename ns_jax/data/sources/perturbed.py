"""Source 'perturbed:SIZE[+MARGIN]:SOURCE': every image of a source as 10 sequences of slightly different frames.

The centre square of the image is resized to SIZE + MARGIN pixels and changed from frame to frame, and of every frame
the centre of SIZE pixels is taken: with 224+32 as ImageNet-P was made, but for its videos. All randomness comes from an
image's id and the perturbation.
"""

import bisect
import collections
import functools
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ns_jax.data.corruptions.corrupt import generator_of
from ns_jax.data.corruptions.sequences import PERTURBATIONS, num_frames, sequence
from ns_jax.data.sources.base import Part, Source
from ns_jax.data.sources.changed import open_original, parse, square
from ns_jax.data.views import View

SEED = 0


class Recent:
    """The last few results of a function, each computed once, whichever thread asks first.

    Frames are asked for one by one, and made a sequence at a time.
    """

    def __init__(self, function: Callable, size: int = 64):
        self._function, self._size, self._lock = function, size, threading.Lock()
        self._entries: collections.OrderedDict = collections.OrderedDict()

    def __call__(self, key, *arguments):
        """function(key, *arguments), or what it gave for this key."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = (threading.Lock(), [])
            entry_lock, values = self._entries[key]
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        with entry_lock:
            if not values:
                values.append(self._function(key, *arguments))
            return values[0]


def open_perturbed(rest: str, data_dir: str) -> Source:
    """Opens the frames: perturbation after perturbation, image after image, frame after frame.

    Raises:
      UserError: the string has another form, or the other source cannot be opened or has no classes.
    """
    size, margin, name = parse("perturbed", rest)
    return copies(rest, size, margin, open_original("perturbed", name, data_dir))


def copies(rest: str, size: int, margin: int, original: Source) -> Source:
    """The source 'perturbed:REST' of the images of `original`; size and margin in pixels, as REST has them."""
    view, parts, start = View(size + margin, 0), [], 0
    for perturbation in PERTURBATIONS:
        frames = num_frames(perturbation, size)
        parts.append(Part(perturbation, start, start + frames * original.count, frames))
        start = parts[-1].stop
    starts = [part.start for part in parts]
    table = {key: np.array([getattr(part, key) for part in parts]) for key in ("start", "frames")}
    names = np.array([f"{part.name}/".encode() for part in parts])

    def make(key, image):
        perturbation, of_image = key
        id_of_image = original.ids(np.array([of_image]))[0]
        return sequence(image, perturbation, size, generator_of(SEED, id_of_image, perturbation))

    recent = Recent(make)

    def change(image, index):
        part = parts[bisect.bisect_right(starts, int(index)) - 1]
        of_image, frame = divmod(int(index) - part.start, part.frames)
        return recent((part.name, of_image), image)[frame]

    def places(indices):
        """Which part, image and frame examples are of."""
        part = np.searchsorted(table["start"], indices, side="right") - 1
        return part, *np.divmod(indices - table["start"][part], table["frames"][part])

    def load(index, window=None):
        del window  # frames are square already, and of the size at which they are wanted
        index = tf.cast(index, tf.int64)
        part = tf.searchsorted(tf.constant(table["start"], tf.int64), index[None], side="right")[0] - 1
        within = index - tf.gather(tf.constant(table["start"], tf.int64), part)
        image, label = square(original, within // tf.gather(tf.constant(table["frames"], tf.int64), part), view)
        image = tf.numpy_function(change, [image, index], tf.uint8, stateful=False)
        image.set_shape([size, size, 3])
        return image, label

    def ids(indices):
        part, of_image, frame = places(np.asarray(indices))
        of_sequence = np.char.add(names[part], original.ids(of_image))
        return np.char.add(of_sequence, np.char.mod(b"/%d", frame))

    return Source(
        name=f"perturbed:{rest}",
        count=start,
        class_names=tuple(original.class_names),
        load=load,
        ids=ids,
        stamp=original.stamp,
        parts=tuple(parts),
        original=original,
        with_original=functools.partial(copies, rest, size, margin),
        original_index=lambda indices: places(np.asarray(indices))[1],
    )
