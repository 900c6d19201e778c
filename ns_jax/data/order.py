"""In which order a stream draws its examples: a function of the seed and the position alone.

A position is the number of an example in the stream: step * batch_size + row. The `count` positions from a multiple of
`count` on are an epoch: each has another example. An order works in two steps: `place`, in TensorFlow's graph, finds
where in the sequence of an epoch a position draws from, and `examples`, in NumPy and of many at once, what lies there.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ns_jax.data.sources.base import Source

LANES = 256
WINDOW = 10_000  # examples
ROUNDS = 4  # of the cipher that shuffles; TensorFlow's own number
OF_SHARDS = 2**31 - 1  # in the seed, in place of the number of a window


class Order(Protocol):
    """See the top of this module."""

    def place(self, position: tf.Tensor) -> tf.Tensor: ...

    def examples(self, places: np.ndarray) -> np.ndarray: ...


class GlobalOrder:
    """Every example of an epoch anywhere in it.

    Args:
      count: number of examples.
      seed: of the stream, 31 bits.
    """

    def __init__(self, count: int, seed: int):
        self.count, self._seed = count, seed

    def place(self, position: tf.Tensor) -> tf.Tensor:
        """int64 scalar, a position, to int64 in [0, count): every value once an epoch, each epoch anew."""
        epoch = tf.cast(position // self.count, tf.int32)
        key = tf.stack([tf.constant(self._seed, tf.int32), epoch])
        last = tf.constant(self.count - 1, tf.int64)
        return tf.random.experimental.index_shuffle(position % self.count, key, last)

    def examples(self, places: np.ndarray) -> np.ndarray:
        """The places themselves."""
        return places


class LaneOrder:
    """Examples that lie near each other are drawn at about the same time, so that shards are read in sequence.

    The shards of an epoch, shuffled, are a sequence that is cut into as many parts as there are lanes. Each lane goes
    through its part from window to window, drawing those of a window in random order, and feeds the same rows of
    every batch. So a batch has examples of as many places as there are lanes, and a host, which feeds some rows, reads
    from few shards at a time. It does not matter to the order how many hosts there are.

    Args:
      count: number of examples.
      batch_size: over all hosts; the number of lanes is its greatest common divisor with LANES.
      starts: int64 [shards + 1], ascending from 0 to `count`: the first example of each shard.
      seed: of the stream, 31 bits.
      window: examples of a lane that are shuffled together, about.
    """

    def __init__(self, count: int, batch_size: int, starts: np.ndarray, seed: int, window: int = WINDOW):
        self.count, self._batch_size, self._seed, self._window = count, batch_size, seed, window
        self.num_lanes = math.gcd(batch_size, LANES)
        self._width = batch_size // self.num_lanes  # rows of a lane
        self._starts = np.asarray(starts, np.int64)
        self._shuffled_shards = functools.lru_cache(4)(self._shuffle_shards)

    def _before(self, position, rows):
        """How many positions before `position` are in the first `rows` of a batch, int64."""
        return position // self._batch_size * rows + tf.minimum(position % self._batch_size, rows)

    def _lane_before(self, position, lane):
        """How many positions before `position` are in the rows of `lane`, int64."""
        return self._before(position, (lane + 1) * self._width) - self._before(position, lane * self._width)

    def _num_windows(self, size):
        """Into how many windows `size` examples of a lane are divided, all of one size but for 1."""
        return -(-size // self._window)

    def place(self, position: tf.Tensor) -> tf.Tensor:
        """int64 positions, a scalar or [N], to int64 places: epoch * count + place in the sequence of the epoch."""
        position = tf.convert_to_tensor(position, tf.int64)
        epoch = position // self.count
        begin, end = epoch * self.count, (epoch + 1) * self.count
        lane = position % self._batch_size // self._width
        before_lane = self._before(end, lane * self._width) - self._before(begin, lane * self._width)
        in_epoch = self._lane_before(begin, lane)
        size = self._lane_before(end, lane) - in_epoch
        rank = self._lane_before(position, lane) - in_epoch
        num_windows = self._num_windows(size)
        window = ((rank + 1) * num_windows - 1) // size
        start, stop = window * size // num_windows, (window + 1) * size // num_windows
        of_stream = tf.fill(tf.shape(epoch), tf.constant(self._seed, tf.int64))
        seed = tf.stack([of_stream, epoch * self.num_lanes + lane, window], -1)
        shuffled = tf.raw_ops.RandomIndexShuffle(
            index=rank - start, seed=seed, max_index=stop - start - 1, rounds=ROUNDS
        )
        return begin + before_lane + start + shuffled

    def _shuffle_shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in the order of an epoch, and the place in its sequence at which each begins: int64 [shards]."""
        num_shards = len(self._starts) - 1
        order = tf.raw_ops.RandomIndexShuffle(
            index=np.arange(num_shards),
            seed=np.array([self._seed, epoch, OF_SHARDS], np.int64),
            max_index=np.int64(num_shards - 1),
            rounds=ROUNDS,
        ).numpy()
        ends = np.cumsum(np.diff(self._starts)[order])
        return order, np.concatenate([[0], ends[:-1]])

    def examples(self, places: np.ndarray) -> np.ndarray:
        """int64 places [N] to int64 examples [N]."""
        epochs, within = np.divmod(places, self.count)
        result = np.empty_like(within)
        for epoch in np.unique(epochs).tolist():
            order, begins = self._shuffled_shards(epoch)
            chosen = epochs == epoch
            of_epoch = within[chosen]
            numbers = np.searchsorted(begins, of_epoch, "right") - 1
            result[chosen] = self._starts[order[numbers]] + of_epoch - begins[numbers]
        return result

    def held(self, rows: slice) -> int:
        """Examples that the rows of a host need in memory: a window of each of its lanes, and the next of one."""
        num_lanes = -(-rows.stop // self._width) - rows.start // self._width
        return (num_lanes + 1) * self._window

    def windows(self, rows: slice, start_step: int, num_steps: int) -> Iterator[np.ndarray]:
        """Yields the positions that the rows of a host draw in steps `start_step` to `num_steps` - 1, by windows.

        Args:
          rows: of the host.
          start_step, num_steps: as in `train_batches`.

        Yields:
          int64 [n], the positions of a window, ascending; windows as they are reached.
        """
        first, end = start_step * self._batch_size, num_steps * self._batch_size
        lanes = np.arange(rows.start // self._width, -(-rows.stop // self._width))
        for epoch in range(first // self.count, -(-end // self.count)):
            before = self._lane_before(np.int64(epoch * self.count), lanes).numpy()
            sizes = self._lane_before(np.int64((epoch + 1) * self.count), lanes).numpy() - before
            num_windows = self._num_windows(sizes)
            for window in range(num_windows.max()):
                for lane, size, number, base in zip(lanes, sizes, num_windows, before, strict=True):
                    if window >= number:
                        continue
                    ranks = base + np.arange(window * size // number, (window + 1) * size // number)
                    in_batch = lane * self._width + ranks % self._width
                    positions = ranks // self._width * self._batch_size + in_batch
                    is_of_host = (in_batch >= rows.start) & (in_batch < rows.stop)
                    positions = positions[is_of_host & (positions >= first) & (positions < end)]
                    if len(positions):
                        yield positions


SHARD_OF_FILES = 128  # examples that count as a shard where each is a file of its own


def stream_order(
    kind: str, examples: Any, source: Source, batch_size: int, seed: int, window: int = WINDOW
) -> GlobalOrder | LaneOrder:
    """The order of a stream.

    Args:
      kind: 'global' or 'lanes'.
      examples: that are drawn: indices into the source, ascending.
      source: of which, for the shards.
      batch_size: over all hosts.
      seed: of the stream.
      window: see `LaneOrder`.
    """
    if kind == "global":
        return GlobalOrder(len(examples), seed)
    starts = getattr(source, "shard_starts", None)
    if starts is None:
        starts = np.append(np.arange(0, source.count, SHARD_OF_FILES), source.count)
    return LaneOrder(len(examples), batch_size, np.searchsorted(examples, starts), seed, window)
