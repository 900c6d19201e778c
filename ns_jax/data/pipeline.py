"""Batches of images, as NumPy arrays, for this process.

Example number p of a stream is a function of (seed, stream, p) alone: which image it is and how it
is noised. A process takes its part of every batch, and a restart begins at the step that it resumes.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from ns_jax import buckets
from ns_jax.data.ops.crops import center_window
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.preprocess import train_image, train_window
from ns_jax.data.resize import resize
from ns_jax.data.sources.base import Source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.files import read_json_object, write_json

MIN_PARALLEL_CALLS = 16
READ_TOGETHER = 32  # examples, where a source reads many with one call
MIN_SIDE = 8  # pixels: of less, nothing is left after a few strides


def stream_seed(seed: int, name: str) -> int:
    """A 31-bit seed for the stream called `name`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def shuffled_position(position, count: int, seed: int):
    """int64 stream position to int64 in [0, count): every value once an epoch, each epoch anew."""
    epoch = tf.cast(position // count, tf.int32)
    key = tf.stack([tf.constant(seed, tf.int32), epoch])
    return tf.random.experimental.index_shuffle(position % count, key, tf.constant(count - 1, tf.int64))


def usable_cores() -> int:
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(dataset: tf.data.Dataset, function) -> tf.data.Dataset:
    """Maps in parallel and in order, on as many threads as cores, or more where files may be far away.

    Autograph is off: it would trace more slowly, and write the functions' source into the temporary folder.
    """
    options = tf.data.Options()
    # The tuner's thread can keep an iterator from ending for a minute, and finds nothing better here.
    options.autotune.enabled = False
    calls = max(MIN_PARALLEL_CALLS, usable_cores())
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=calls, deterministic=True).with_options(options)


def map_examples(dataset: tf.data.Dataset, source: Source, locate: Callable, make: Callable) -> tf.data.Dataset:
    """Makes examples in parallel and in order; a source that can reads many of them with one call.

    Args:
      dataset: of what `locate` takes.
      source: of the examples.
      locate: graph function, an element to a dictionary with `index`, int64 scalar into the source.
      make: graph function (dictionary, load) to an example, where load(window=None) gives (image, label).
    """
    read_many = getattr(source, "read_many", None)
    if read_many is None:

        def locate_and_make(element):
            request = locate(element)
            return make(request, lambda *window: source.load(request["index"], *window))

        return parallel_map(dataset, locate_and_make)

    def read(requests):
        content, label = read_many(requests["index"])
        return requests, content, label

    def make_of_stored(request, content, label):
        return make(request, lambda *window: (source.decode(content, *window), label))

    located = parallel_map(dataset, locate).batch(READ_TOGETHER)
    return parallel_map(parallel_map(located, read).unbatch(), make_of_stored)


def named_error(error: tf.errors.OpError) -> UserError | None:
    """The UserError that was raised in TensorFlow's threads, or that an assertion there states; None for others."""
    reason = re.search(r"UserError: ([^\n]*)", error.message)
    if reason is None:
        return None
    return UserError(re.sub(r"\]? \[(\S+)\]", r" \1", reason[1]).rstrip("]"))


def arrays_of(dataset: tf.data.Dataset) -> Iterator:
    """Yields the elements as NumPy arrays. Raises UserError where reading raised one, in TensorFlow's threads."""
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        if (named := named_error(error)) is None:
            raise
        raise named from None


def train_batches(
    source: Source,
    examples: np.ndarray,
    *,
    augmentation: Augmentation,
    view: View | None,
    seed: int,
    stream: str,
    batch_size: int,
    rows: slice,
    start_step: int,
    num_steps: int,
    clean_view: View | None = None,
    with_clean: bool | None = None,
    clean_augmentation: Augmentation | None = None,
) -> Iterator[dict]:
    """Yields this process's part of the augmented training batches `start_step` to `num_steps` - 1.

    Args:
      source: the images.
      examples: int64 [M], the indices to draw from; one that occurs twice is seen twice an epoch.
      augmentation: see `train_image`.
      view: at the resolution of training; None: arrays as the source has them.
      seed: of the run.
      stream: name of the random stream, different for labeled and unlabeled images.
      batch_size: over all processes.
      rows: which examples of a batch this process feeds.
      start_step: the first step to give.
      num_steps: end of the stream.
      clean_view: of another model that is to see the same images without noise.
      with_clean: whether to give the examples without noise too; default: where there is a clean_view. True without a
        clean_view gives the arrays as the source has them.
      clean_augmentation: of the examples that the other model sees, drawn by itself; None: they are without noise.

    Yields:
      {image: uint8 [rows, size, size, 3], label: int32 [rows], example: int64 [rows] into
      `examples`}; with a clean view also clean: float32 [rows, its size, its size, 3].
    """
    stream_key = stream_seed(seed, stream)
    per_process = rows.stop - rows.start
    table = tf.constant(examples, tf.int64)
    if with_clean is None:
        with_clean = clean_view is not None

    def locate(local):
        step, row = local // per_process, local % per_process
        position = step * batch_size + rows.start + row
        example = shuffled_position(position, len(examples), stream_key)
        return {"index": table[example], "position": position, "example": example}

    def make(request, load):
        image_seed = tf.stack([tf.constant(stream_key, tf.int64), request["position"]])
        image, label = load(train_window(augmentation, view, image_seed))
        image = train_image(image, augmentation, view, image_seed)
        result = {"image": image, "label": label, "example": request["example"]}
        if with_clean:
            if clean_augmentation is None:
                result["clean"], _ = _load_clean(load, clean_view)
            else:
                weak = (clean_view, clean_augmentation, stream_seed(seed, f"{stream}/weak"))
                result["clean"], _ = _load_noised(load, request["position"], *weak)
        return result

    dataset = tf.data.Dataset.range(start_step * per_process, num_steps * per_process)
    dataset = map_examples(dataset, source, locate, make).batch(per_process, drop_remainder=True).prefetch(4)
    return arrays_of(dataset)


def _load_clean(load: Callable, view: View | None):
    """Image or array without noise, and label; `load` as in `map_examples`."""
    if view is None:
        return load()
    image, label = load(center_window(view))
    return resize(image, view), label


def _load_noised(load: Callable, number, view: View | None, augmentation: Augmentation, key: int):
    """Image or array as for training, its noise drawn by a number and a stream's key, and label. Images are float32."""
    image_seed = tf.stack([tf.constant(key, tf.int64), number])
    image, label = load(train_window(augmentation, view, image_seed))
    image = train_image(image, augmentation, view, image_seed)
    return (image if view is None else tf.cast(image, tf.float32)), label


def eval_batches(
    source: Source,
    indices: np.ndarray,
    view: View | None,
    batch_size: int,
    noise: tuple[Augmentation, int] | None = None,
) -> Iterator[dict]:
    """Yields clean images, in the order of `indices`; the last batch is padded with zeros.

    Args:
      source: the images.
      indices: int64 [M].
      view: of the model; None: arrays as the source has them.
      batch_size: of every batch.
      noise: (augmentation, seed of the run): images are noised as for training, each by its index (the noised
        teacher of the ablation).

    Yields:
      {image: float32 [batch_size, size, size, 3], label: int32 [batch_size], index: int64
      [batch_size], -1 where padded}.
    """

    noise_key = stream_seed(noise[1], "teacher") if noise else 0

    def make(request, load):
        index = request["index"]
        image, label = (
            _load_clean(load, view) if noise is None else _load_noised(load, index, view, noise[0], noise_key)
        )
        return {"image": image, "label": label, "index": index}

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
    dataset = map_examples(dataset, source, lambda index: {"index": index}, make)
    for batch in arrays_of(dataset.batch(batch_size).prefetch(2)):
        missing = batch_size - len(batch["index"])
        if missing:
            batch = {key: _pad_rows(value, missing) for key, value in batch.items()}
            batch["index"][batch_size - missing :] = -1
        yield batch


def _pad_rows(array: np.ndarray, missing: int) -> np.ndarray:
    """Appends `missing` zeros along the first axis."""
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))


def readable_examples(source: Source, max_broken_fraction: float, cache_dir, tell: bool = True) -> np.ndarray:
    """Indices of the images that can be used, int64, ascending; with `tell` the log counts and lists the others.

    Files are decoded once; what cannot be decoded, and what is smaller than MIN_SIDE, is remembered in `cache_dir`.

    Raises:
      UserError: more images cannot be used than `max_broken_fraction` allows.
    """
    everything = np.arange(source.count, dtype=np.int64)
    original = getattr(source, "original", None)
    if original is not None:  # its images are read once, not once for every copy
        readable = readable_examples(original, max_broken_fraction, cache_dir, tell)
        return everything[np.isin(source.original_index(everything), readable)]
    if not source.may_be_broken:
        return everything
    identity = getattr(source, "identity", "")
    of_examples = [identity.encode()] if identity else source.ids(everything).tolist()
    key = hashlib.sha256(b"\0".join([*of_examples, source.name.encode(), source.stamp.encode()])).hexdigest()[:16]
    cache = epath.Path(cache_dir) / f"broken_images-{key}.json"
    if cache.exists():
        known = read_json_object(cache)
        broken, small = (_known_indices(cache, known, field, source.count) for field in ("indices", "small"))
    else:
        decoded, sides = _decoded_sides(source)
        broken, small = np.setdiff1d(everything, decoded), decoded[sides < MIN_SIDE]
        write_json(cache, {"source": source.name, "indices": broken.tolist(), "small": small.tolist()})
    unusable = np.union1d(broken, small)
    names = [name.decode(errors="replace") for name in source.ids(unusable).tolist()]
    if len(unusable) > max_broken_fraction * source.count:
        reasons = [f"{len(broken)} of {source.count} images cannot be decoded"] if len(broken) else []
        if len(small):
            reasons.append(f"{len(small)} of {source.count} images are smaller than {MIN_SIDE} px")
        raise UserError(
            f"{source.name}: {' and '.join(reasons)}, first {names[0]!r}; "
            f"remove them, or allow as many with --config.data.max_broken_fraction="
            f"{np.ceil(1e4 * len(unusable) / source.count) / 1e4:g}"
        )
    if names and tell:
        too_small = set(small.tolist())
        for index, name in zip(unusable.tolist(), names, strict=True):
            kind = "small" if index in too_small else "broken"
            logging.warning("%s: skipped the %s image %s", source.name, kind, name)
        logging.warning("%s: skipped %d of %d images", source.name, len(names), source.count)
    return np.setdiff1d(everything, unusable)


def _known_indices(cache: epath.Path, known: dict, field: str, count: int) -> np.ndarray:
    """Indices in a cache of broken images, int64. Raises UserError for anything else."""
    values = known.get(field, [] if field == "small" else None)  # files of version 0.1 have no 'small'
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < count for value in values):
        raise UserError(f"{cache} is damaged ({field} is no list of indices); delete it and run again")
    return np.array(values, np.int64)


def _decoded_sides(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Decodes every image; int64 indices of those that can be decoded, and the length of their shorter side.

    The side of an array that is no image is MIN_SIDE.

    Raises:
      UserError: an image could not be fetched from a bucket: it is not known to be broken.
    """

    def decode(index):
        image = source.load(index)[0]
        # A value that needs the pixels: TensorFlow prunes what nothing reads.
        largest = tf.reduce_max(image)
        is_image = image.dtype == tf.uint8 and image.shape.rank == 3
        side = tf.reduce_min(tf.shape(image)[:2]) if is_image else tf.constant(MIN_SIDE)
        return index, largest, side

    dataset = parallel_map(tf.data.Dataset.range(source.count), decode)
    buckets.failures.take()
    decoded = [(index, side) for index, _, side in dataset.ignore_errors().as_numpy_iterator()]
    if failure := buckets.failures.take():
        raise failure
    indices, sides = np.array(decoded, np.int64).reshape(-1, 2).T
    return indices, sides
