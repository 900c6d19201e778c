"""How well orders of training mix images that lie sorted by class.

  python -m benchmarks.order_mixing [--images=10000000] [--classes=1000] [--shard=10000] [--batch_size=2048]

The images of a class lie one after the other, in shards. Compared are the orders `global` and `lanes`, a buffer of
250,000 images that is filled from shuffled shards (what tf.data's shuffle does), and none. Of some batches, drawn over
an epoch: how far apart in the data neighbours in a batch are (of random ones a third of all), the entropy of its
classes, how many it has, and from how many shards 1/256 of its rows read in 50 steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import app, flags

from ns_jax.data.order import LANES, WINDOW, GlobalOrder, LaneOrder
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
BUFFER = 250_000
STEPS = 50  # in which a host's shards are counted
Stream = Callable[[int, int], np.ndarray]  # first position and number to int64 [number] images


class Mixing(NamedTuple):
    """Means over batches.

    Attributes:
      distance: of neighbours in a batch, as a share of all images.
      entropy: of the classes of a batch, nats.
      classes: of a batch.
      shards: from which 1/256 of the rows read in STEPS steps.
    """

    distance: float
    entropy: float
    classes: float
    shards: float


def by_order(order: GlobalOrder | LaneOrder) -> Stream:
    """The stream of an order."""
    # The global order takes one position at a time.
    place = order.place if isinstance(order, LaneOrder) else lambda positions: tf.map_fn(order.place, positions)
    places = tf.function(place, input_signature=[tf.TensorSpec([None], tf.int64)])
    return lambda first, number: order.examples(places(np.arange(first, first + number)).numpy())


def by_buffer(count: int, shard: int, size: int, seed: int = 0) -> Stream:
    """A buffer that gives a random one of its images and takes the next of the shards in its place."""
    shards = np.random.default_rng(seed).permutation(-(-count // shard))

    def read(places: np.ndarray) -> np.ndarray:
        return np.minimum(shards[places // shard % len(shards)] * shard + places % shard, count - 1)

    def images(first: int, number: int) -> np.ndarray:
        # An image stays in the buffer for `size` draws on average; of what came ten times as early nothing is left.
        begin = max(0, first - 10 * size)
        generator = np.random.default_rng(seed + 1 + first)
        buffer = read(begin + np.arange(size))
        chosen = generator.integers(0, size, first + number - begin).tolist()
        incoming = read(np.arange(begin + size, first + number + size)).tolist()
        drawn = []
        for place, image in zip(chosen, incoming, strict=True):
            drawn.append(buffer[place])
            buffer[place] = image
        return np.array(drawn[-number:])

    return images


def measure(stream: Stream, count: int, classes: int, shard: int, batch_size: int, batches: int) -> Mixing:
    """Measures batches that are spread evenly over the first epoch."""
    distances, entropies, numbers, shards = [], [], [], []
    rows = max(1, batch_size // LANES)
    for step in np.linspace(0, max(0, count // batch_size - STEPS), batches).astype(int).tolist():
        drawn = stream(step * batch_size, STEPS * batch_size).reshape(STEPS, batch_size)
        images = drawn[0]
        shares = np.bincount(images * classes // count, minlength=classes) / batch_size
        distances.append(np.abs(np.diff(images)).mean() / count)
        entropies.append(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
        numbers.append((shares > 0).sum())
        shards.append(len(np.unique(drawn[:, :rows] // shard)))
    return Mixing(*(float(np.mean(values)) for values in (distances, entropies, numbers, shards)))


def mixing(count: int, classes: int, shard: int, batch_size: int, batches: int, buffer: int = BUFFER) -> dict:
    """{name of an order: Mixing}."""
    starts = np.append(np.arange(0, count, shard), count)
    streams = {
        "global": by_order(GlobalOrder(count, 0)),
        f"lanes, windows of {WINDOW:,}": by_order(LaneOrder(count, batch_size, starts, 0)),
        f"lanes, windows of {4 * WINDOW:,}": by_order(LaneOrder(count, batch_size, starts, 0, 4 * WINDOW)),
        f"buffer of {buffer:,}, shuffled shards": by_buffer(count, shard, buffer),
        "as they lie": lambda first, number: np.arange(first, first + number),
    }
    result = {}
    for name, stream in streams.items():
        few = name.startswith("buffer")  # every batch of it is simulated from far before
        result[name] = measure(stream, count, classes, shard, batch_size, min(batches, 2) if few else batches)
    return result


def define_flags() -> None:
    flags.DEFINE_integer("images", 10_000_000, "Number of images.", lower_bound=1)
    flags.DEFINE_integer("classes", 1000, "Number of classes, of equal size.", lower_bound=1)
    flags.DEFINE_integer("shard", 10_000, "Images of a shard.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 2048, "Images of a batch.", lower_bound=1)
    flags.DEFINE_integer("batches", 10, "How many are looked at; of the buffer at most 2.", lower_bound=1)


def main(argv) -> None:
    del argv
    measured = mixing(FLAGS.images, FLAGS.classes, FLAGS.shard, FLAGS.batch_size, FLAGS.batches)
    rows = [
        [name, f"{of.distance:.3f}", f"{of.entropy:.2f}", f"{of.classes:.0f}", f"{of.shards:.0f}"]
        for name, of in measured.items()
    ]
    print(
        markdown_table(
            [
                "order",
                "distance of neighbours",
                "class entropy, nats",
                "classes in a batch",
                f"shards in {STEPS} steps",
            ],
            rows,
        )
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
