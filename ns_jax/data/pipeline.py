"""Batches of images, as NumPy arrays, for this process.

Example number p of a stream is a function of (seed, stream, p) alone: which image it is and how it
is noised. A process takes its part of every batch, and a restart begins at the step that it resumes.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from ns_jax import buckets
from ns_jax.cores import usable_cores
from ns_jax.data.examples import AllBut
from ns_jax.data.ops.crops import center_window
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.order import GlobalOrder, LaneOrder, Order
from ns_jax.data.preprocess import train_image, train_window
from ns_jax.data.read_ahead import ReadAhead
from ns_jax.data.resize import resize
from ns_jax.data.sources.base import Source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.files import read_json_object, write_json

MIN_PARALLEL_CALLS = 16
READ_TOGETHER = 32  # examples, where a source reads many with one call
PROBABILITY_CALLS = 2  # batches whose probabilities are read at the same time, each held in memory
MIN_SIDE = 8  # pixels: of less, nothing is left after a few strides


def stream_seed(seed: int, name: str) -> int:
    """A 31-bit seed for the stream called `name`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


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


class Examples(Protocol):
    """What a training draws from: int64 indices into a source. An array of them, or an object that computes them."""

    def __len__(self) -> int: ...

    def __getitem__(self, examples: np.ndarray, /) -> np.ndarray: ...


class Probabilities(NamedTuple):
    """Pseudo-labels that come with images.

    Attributes:
      read: NumPy function, int64 [N] indices into the source to float32 [N, num_classes]; called by several threads.
      num_classes: of each.
      are_far: whether reading those of images that lie near each other is much faster than of any.
    """

    read: Callable[[np.ndarray], np.ndarray]
    num_classes: int
    are_far: bool = False


def map_examples(
    dataset: tf.data.Dataset, source: Source, locate: Callable, make: Callable, look_up: Callable | None = None
) -> tf.data.Dataset:
    """Makes examples in parallel and in order; a source that can reads many of them with one call.

    Args:
      dataset: of what `locate` takes.
      source: of the examples.
      locate: graph function, an element to a dictionary with `index`, int64 scalar into the source.
      make: graph function (dictionary, load) to an example, where load(window=None) gives (image, label).
      look_up: graph function, from dictionaries without `index`, many as one of vectors [N], to some with it; None:
        `locate` gives it.
    """
    read_many = getattr(source, "read_many", None)

    def make_by_index(request):
        return make(request, lambda *window: source.load(request["index"], *window))

    if read_many is None and look_up is None:
        return parallel_map(dataset, lambda element: make_by_index(locate(element)))
    located = parallel_map(dataset, locate).batch(READ_TOGETHER)
    if look_up is not None:
        located = parallel_map(located, look_up)
    if read_many is None:
        return parallel_map(located.unbatch(), make_by_index)

    def read(requests):
        content, label = read_many(requests["index"])
        return requests, content, label

    def make_of_stored(request, content, label):
        return make(request, lambda *window: (source.decode(content, *window), label))

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
    examples: Examples,
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
    probabilities: Probabilities | None = None,
    order: Order | None = None,
    clean_augmentation: Augmentation | None = None,
) -> Iterator[dict]:
    """Yields this process's part of the augmented training batches `start_step` to `num_steps` - 1.

    Args:
      source: the images.
      examples: M indices to draw from; one that occurs twice is seen twice an epoch.
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
      probabilities: of the images, to be given with them.
      order: of the stream; None: the global one.
      clean_augmentation: of the examples that the other model sees, drawn by itself; None: they are without noise.

    Yields:
      {image: uint8 [rows, size, size, 3], label: int32 [rows], example: int64 [rows] into
      `examples`}; with a clean view also clean: float32 [rows, its size, its size, 3]; with probabilities also
      probs: float32 [rows, classes].
    """
    stream_key = stream_seed(seed, stream)
    per_process = rows.stop - rows.start
    order = order or GlobalOrder(len(examples), stream_key)
    ahead = []
    if isinstance(order, LaneOrder):
        foretold = functools.partial(foretell, order, examples, rows, start_step, num_steps)
        source, probabilities, ahead = _read_ahead(source, probabilities, foretold, order.held(rows))
    is_table = isinstance(examples, np.ndarray) and isinstance(order, GlobalOrder)
    table = tf.constant(examples, tf.int64) if is_table else None
    if with_clean is None:
        with_clean = clean_view is not None

    def locate(local):
        step, row = local // per_process, local % per_process
        position = step * batch_size + rows.start + row
        place = order.place(position)
        if table is None:
            return {"position": position, "place": place}
        return {"position": position, "example": place, "index": table[place]}

    def example_and_index(places):
        some = order.examples(places)
        return some, examples[some]

    def look_up(requests):
        place = requests.pop("place")
        columns = tf.numpy_function(example_and_index, [place], [tf.int64, tf.int64], stateful=False)
        example, index = (tf.ensure_shape(column, place.shape) for column in columns)
        return requests | {"example": example, "index": index}

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
        if probabilities is not None:
            result["index"] = request["index"]
        return result

    def add_probabilities(batch):
        index = batch.pop("index")
        probs = tf.numpy_function(probabilities.read, [index], tf.float32, stateful=False)
        return batch | {"probs": tf.ensure_shape(probs, [per_process, probabilities.num_classes])}

    dataset = tf.data.Dataset.range(start_step * per_process, num_steps * per_process)
    dataset = map_examples(dataset, source, locate, make, look_up if table is None else None)
    dataset = dataset.batch(per_process, drop_remainder=True)
    if probabilities is not None:
        dataset = dataset.map(add_probabilities, num_parallel_calls=PROBABILITY_CALLS, deterministic=True)
    return _closing(arrays_of(dataset.prefetch(4)), ahead)


def foretell(order: LaneOrder, examples: Examples, rows: slice, start_step: int, num_steps: int) -> Iterator:
    """Yields the indices into the source that the rows of a host draw, int64 [n], window by window."""
    for positions in order.windows(rows, start_step, num_steps):
        yield examples[order.examples(order.place(positions).numpy())]


def _read_ahead(
    source: Source, probabilities: Probabilities | None, foretold: Callable[[], Iterator], most: int
) -> tuple[Source, Probabilities | None, list[ReadAhead]]:
    """A source and probabilities that are read ahead where they are far away, and what does it."""
    ahead = []
    if getattr(source, "read_ahead", None) is not None:
        ahead.append(source.read_ahead(foretold(), most))
        read_many = functools.partial(source.read_many, read=ahead[-1])
        source = dataclasses.replace(source, read_many=read_many)
    if probabilities is not None and probabilities.are_far:
        read = probabilities.read
        ahead.append(of_probabilities := ReadAhead(lambda indices: (read(indices),), foretold(), most))
        probabilities = probabilities._replace(read=lambda indices: of_probabilities(indices)[0])
    return source, probabilities, ahead


def _closing(batches: Iterator, ahead: list[ReadAhead]) -> Iterator:
    """Yields the batches, and reads nothing ahead when nobody wants more of them."""
    try:
        yield from batches
    finally:
        for reader in ahead:
            reader.close()


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
    """Yields clean images, in the order of `indices`; the last batch is padded with zeros. See `EvalBatches`."""
    return EvalBatches(source, view, batch_size, noise)(indices)


class EvalBatches:
    """Clean images of one list of indices after the other. What reads them is built once, which takes some 0.1 s.

    Args:
      source: the images.
      view: of the model; None: arrays as the source has them.
      batch_size: of every batch.
      noise: (augmentation, seed of the run): images are noised as for training, each by its index (the noised
        teacher of the ablation).
    """

    def __init__(
        self, source: Source, view: View | None, batch_size: int, noise: tuple[Augmentation, int] | None = None
    ):
        noise_key = stream_seed(noise[1], "teacher") if noise else 0

        def make(request, load):
            index = request["index"]
            image, label = (
                _load_clean(load, view) if noise is None else _load_noised(load, index, view, noise[0], noise_key)
            )
            return {"image": image, "label": label, "index": index}

        self._batch_size = batch_size
        with tf.device("CPU"):
            indices = tf.Variable(np.zeros(0, np.int64), shape=[None])  # read when an iteration begins
        self._indices = indices
        list_of_indices = tf.data.Dataset.from_tensors(0).flat_map(
            tf.autograph.experimental.do_not_convert(lambda _: tf.data.Dataset.from_tensor_slices(indices.read_value()))
        )
        dataset = map_examples(list_of_indices, source, lambda index: {"index": index}, make)
        self._batches = dataset.batch(batch_size).prefetch(2)

    def __call__(self, indices: np.ndarray) -> Iterator[dict]:
        """Yields batches in the order of `indices`, the last one padded with zeros; one iteration at a time.

        Args:
          indices: int64 [M].

        Yields:
          {image: float32 [batch_size, size, size, 3], label: int32 [batch_size], index: int64
          [batch_size], -1 where padded}.
        """
        self._indices.assign(np.asarray(indices, np.int64))
        for batch in arrays_of(self._batches):
            missing = self._batch_size - len(batch["index"])
            if missing:
                batch = {key: _pad_rows(value, missing) for key, value in batch.items()}
                batch["index"][self._batch_size - missing :] = -1
            yield batch


def _pad_rows(array: np.ndarray, missing: int) -> np.ndarray:
    """Appends `missing` zeros along the first axis."""
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))


def readable_examples(source: Source, max_broken_fraction: float, cache_dir, tell: bool = True) -> AllBut:
    """Indices of the images that can be used; with `tell` the log counts and lists the others.

    Files are decoded once; what cannot be decoded, and what is smaller than MIN_SIDE, is remembered in `cache_dir`.

    Raises:
      UserError: more images cannot be used than `max_broken_fraction` allows.
    """
    original = getattr(source, "original", None)
    if original is not None:  # its images are read once, not once for every copy
        missing = readable_examples(original, max_broken_fraction, cache_dir, tell).missing
        is_missing = np.isin(source.original_index(np.arange(source.count)), missing)
        return AllBut(source.count, np.flatnonzero(is_missing))
    if not source.may_be_broken:
        return AllBut(source.count)
    identity = getattr(source, "identity", "")
    of_examples = [identity.encode()] if identity else source.ids(np.arange(source.count)).tolist()
    key = hashlib.sha256(b"\0".join([*of_examples, source.name.encode(), source.stamp.encode()])).hexdigest()[:16]
    cache = epath.Path(cache_dir) / f"broken_images-{key}.json"
    if cache.exists():
        known = read_json_object(cache)
        broken, small = (_known_indices(cache, known, field, source.count) for field in ("indices", "small"))
    else:
        decoded, sides = _decoded_sides(source)
        broken, small = np.setdiff1d(np.arange(source.count), decoded), decoded[sides < MIN_SIDE]
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
    return AllBut(source.count, unusable)


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
