"""Batches of images, as NumPy arrays, for this host.

Example number p of a stream is a function of (seed, stream, p) alone: which image it is and how it
is noised. A host takes its rows of every batch, and a restart begins at the step that it resumes.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from ns_jax.data.preprocess import center_window, resize_bicubic, train_image, train_window
from ns_jax.data.sources import Source
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json

MIN_PARALLEL_CALLS = 16


@dataclasses.dataclass(frozen=True)
class View:
    """At which size, and with which centre crop, a model looks at images."""

    size: int
    crop_padding: int


def stream_seed(seed: int, name: str) -> int:
    """A 31-bit seed for the stream called `name`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def shuffled_position(position, count: int, seed: int):
    """int64 stream position to int64 in [0, count): every value once an epoch, each epoch anew."""
    epoch = tf.cast(position // count, tf.int32)
    key = tf.stack([tf.constant(seed, tf.int32), epoch])
    return tf.random.experimental.index_shuffle(position % count, key, tf.constant(count - 1, tf.int64))


def parallel_map(dataset: tf.data.Dataset, function) -> tf.data.Dataset:
    """Maps in parallel and in order, on as many threads as cores, or more where files may be far away."""
    options = tf.data.Options()
    # The tuner's thread can keep an iterator from ending for a minute, and finds nothing better here.
    options.autotune.enabled = False
    calls = max(MIN_PARALLEL_CALLS, os.cpu_count())
    return dataset.map(function, num_parallel_calls=calls, deterministic=True).with_options(options)


def train_batches(
    source: Source,
    examples: np.ndarray,
    config,
    view: View,
    *,
    stream: str,
    batch_size: int,
    rows: slice,
    start_step: int,
    num_steps: int,
    clean_view: View | None = None,
) -> Iterator[dict]:
    """This host's rows of the noised training batches `start_step` to `num_steps` - 1.

    Args:
      source: the images.
      examples: int64 [M], the indices to draw from; one that occurs twice is seen twice an epoch.
      config: see `train_image`; its `seed` too.
      view: resolution of training.
      stream: name of the random stream, different for labeled and unlabeled images.
      batch_size: over all hosts.
      rows: which of a batch's rows this host feeds.
      start_step: the first step to give.
      num_steps: end of the stream.
      clean_view: of another model that is to see the same images without noise.

    Yields:
      {image: uint8 [rows, size, size, 3], label: int32 [rows], example: int64 [rows] into
      `examples`}; with `clean_view` also clean: float32 [rows, its size, its size, 3].
    """
    seed = stream_seed(config.seed, stream)
    per_host = rows.stop - rows.start
    table = tf.constant(examples, tf.int64)

    def make(local):
        step, row = local // per_host, local % per_host
        position = step * batch_size + rows.start + row
        example = shuffled_position(position, len(examples), seed)
        noise_seed = tf.stack([tf.constant(seed, tf.int64), position])
        window = train_window(config, view.size, view.crop_padding, noise_seed)
        image, label = source.load(table[example], window)
        found = {"image": train_image(image, config, view.size, noise_seed), "label": label, "example": example}
        if clean_view:
            clean, _ = source.load(table[example], center_window(clean_view.size, clean_view.crop_padding))
            found["clean"] = resize_bicubic(clean, clean_view.size)
        return found

    dataset = tf.data.Dataset.range(start_step * per_host, num_steps * per_host)
    dataset = parallel_map(dataset, make).batch(per_host, drop_remainder=True).prefetch(4)
    return dataset.as_numpy_iterator()


def eval_batches(source: Source, indices: np.ndarray, view: View, batch_size: int, noised_by=None) -> Iterator[dict]:
    """Clean images, in the order of `indices`; the last batch is padded with zeros.

    With `noised_by`, a config, they are noised as for training, each by its index (the ablation's teacher).

    Yields:
      {image: float32 [batch_size, size, size, 3], label: int32 [batch_size], index: int64
      [batch_size], -1 where padded}.
    """

    def make(index):
        if noised_by is None:
            image, label = source.load(index, center_window(view.size, view.crop_padding))
            image = resize_bicubic(image, view.size)
        else:
            noise_seed = tf.stack([tf.constant(stream_seed(noised_by.seed, "teacher"), tf.int64), index])
            image, label = source.load(index, train_window(noised_by, view.size, view.crop_padding, noise_seed))
            image = tf.cast(train_image(image, noised_by, view.size, noise_seed), tf.float32)
        return {"image": image, "label": label, "index": index}

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
    dataset = parallel_map(dataset, make)
    for batch in dataset.batch(batch_size).prefetch(2).as_numpy_iterator():
        missing = batch_size - len(batch["index"])
        if missing:
            batch = {key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1)) for key, value in batch.items()}
            batch["index"][batch_size - missing :] = -1
        yield batch


def readable_examples(source: Source, max_broken_fraction: float, cache_dir) -> np.ndarray:
    """Indices of the images that decode, ascending; the others are counted and listed in the log.

    Files are decoded once, and what was found is kept in `cache_dir`.

    Raises:
      UserError: more images are broken than `max_broken_fraction` allows.
    """
    everything = np.arange(source.count, dtype=np.int64)
    if not source.may_be_broken:
        return everything
    ids = source.ids(everything)
    key = hashlib.sha256(b"\0".join([*ids.tolist(), source.name.encode(), source.stamp.encode()])).hexdigest()[:16]
    cache = epath.Path(cache_dir) / f"broken_images-{key}.json"
    if cache.exists():
        broken = np.array(read_json(cache)["indices"], np.int64)
    else:

        def decode(index):
            # A value that needs the pixels: TensorFlow prunes what nothing reads.
            return index, tf.reduce_max(source.load(index)[0])

        dataset = parallel_map(tf.data.Dataset.range(source.count), decode)
        decoded = dataset.ignore_errors().as_numpy_iterator()
        good = np.fromiter((index for index, _ in decoded), np.int64)
        broken = np.setdiff1d(everything, good)
        write_json(cache, {"source": source.name, "indices": broken.tolist()})
    names = [ids[i].decode(errors="replace") for i in broken]
    if len(broken) > max_broken_fraction * source.count:
        raise UserError(
            f"{source.name}: {len(broken)} of {source.count} images cannot be decoded, first {names[0]!r}; "
            f"remove them, or allow as many with --config.data.max_broken_fraction="
            f"{np.ceil(1e4 * len(broken) / source.count) / 1e4:g}"
        )
    for name in names:
        logging.warning("%s: skipped the broken image %s", source.name, name)
    if names:
        logging.warning("%s: skipped %d of %d images", source.name, len(names), source.count)
    return np.setdiff1d(everything, broken)
