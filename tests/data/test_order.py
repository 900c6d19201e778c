"""Orders of examples: each once an epoch, whoever reads them, wherever a stream begins."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.data.order import GlobalOrder, LaneOrder


def lane_order(count, batch_size, cuts, window, seed=5) -> LaneOrder:
    starts = np.array([0, *sorted(cut % (count + 1) for cut in cuts), count])
    return LaneOrder(count, batch_size, starts, seed, window)


def drawn(order, positions) -> np.ndarray:
    return order.examples(order.place(tf.constant(positions, tf.int64)).numpy())


ORDERS = st.builds(
    lane_order,
    count=st.integers(1, 300),
    batch_size=st.sampled_from([1, 7, 8, 12, 64, 320]),
    cuts=st.lists(st.integers(0, 600), max_size=8),
    window=st.integers(20, 200),
    seed=st.integers(0, 2**31 - 1),
)


@given(ORDERS)
@settings(max_examples=15, deadline=None)
def test_each_example_once_an_epoch_and_windows_foretell_what_is_drawn(order):
    epochs = [drawn(order, np.arange(epoch * order.count, (epoch + 1) * order.count)) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(order.count))
    stream, size = np.concatenate(epochs), order._batch_size
    num_steps = len(stream) // size
    start = num_steps // 3
    for hosts in (host for host in (1, 2, 4, 8) if size % host == 0):
        rows = [slice(host * size // hosts, (host + 1) * size // hosts) for host in range(hosts)]
        for part in rows:  # what a host of several reads, from a step on, is foretold to it
            told = list(order.windows(part, start, num_steps))
            own = np.arange(start * size, num_steps * size).reshape(-1, size)[:, part].reshape(-1)
            assert sorted(np.concatenate([*told, []]).tolist()) == own.tolist()
            assert all((np.diff(positions) > 0).all() for positions in told)


def test_lanes_draw_from_few_shards_at_a_time_and_change_them_each_epoch():
    starts = np.arange(0, 64_001, 100)
    order = LaneOrder(64_000, 256, starts, 1, window=50)
    rows = [drawn(order, epoch * 64_000 + np.arange(100) * 256 + 17) for epoch in range(2)]  # of a lane
    shards = [np.unique(examples // 100) for examples in rows]
    assert order.num_lanes == 256 and all(len(used) <= 3 for used in shards)
    assert not np.isin(shards[0], shards[1]).all()
    in_window = rows[0][:50]
    assert (np.diff(in_window) < 0).any()  # shuffled
    assert len(np.unique(drawn(order, np.arange(256)) // 100)) > 128  # a batch is of many shards


def test_scalars_as_vectors_and_other_seeds():
    order = LaneOrder(1000, 16, np.array([0, 300, 300, 1000]), 7, window=40)
    positions = np.arange(2500)
    places = order.place(tf.constant(positions, tf.int64)).numpy()
    for position in positions[::499]:
        assert int(order.place(tf.constant(position, tf.int64))) == places[position]
    other = LaneOrder(1000, 16, np.array([0, 300, 300, 1000]), 8, window=40)
    assert (drawn(other, positions) != drawn(order, positions)).mean() > 0.9


@pytest.mark.parametrize("count", [1, 2, 97])
def test_the_global_order_has_each_example_once_an_epoch(count):
    order = GlobalOrder(count, 3)
    places = np.array([int(order.place(tf.constant(p, tf.int64))) for p in range(2 * count)])
    assert sorted(places[:count]) == sorted(places[count:]) == list(range(count))
    assert order.examples(places) is places
