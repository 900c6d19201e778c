import numpy as np
import pytest

from ns_jax.configs import mnist5k
from ns_jax.data.pipeline import View, eval_batches, train_batches
from ns_jax.data.sources import open_source

VIEW = View(28, 0)


@pytest.fixture(scope="module")
def source():
    return open_source("mnist5k:labeled")


def stream(source, start=0, stop=7, rows=slice(0, 40), examples=None, seed=0):
    config = mnist5k.get_config()
    config.seed = seed
    examples = np.arange(source.count) if examples is None else examples
    return list(
        train_batches(
            source, examples, config, VIEW, stream="labeled", batch_size=40, rows=rows, start_step=start, num_steps=stop
        )
    )


@pytest.fixture(scope="module")
def whole(source):
    return stream(source)


def same(found, expected):
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        for key in two:
            np.testing.assert_array_equal(one[key], two[key])


def test_every_example_once_an_epoch(whole):
    order = np.concatenate([batch["example"] for batch in whole])
    first, second = order[:100], order[100:200]
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any() and (first != np.arange(100)).any()


def test_a_restart_continues_the_stream(source, whole):
    same(stream(source, start=3), whole[3:])


def test_hosts_feed_their_rows(source, whole):
    for rows in (slice(0, 20), slice(20, 40)):
        same(stream(source, rows=rows), [{key: value[rows] for key, value in batch.items()} for batch in whole])


def test_seeds_differ(source, whole):
    other = stream(source, seed=1, stop=1)[0]
    assert (other["image"] != whole[0]["image"]).any() and (other["example"] != whole[0]["example"]).any()


def test_copies_get_noise_of_their_own(source):
    batch = stream(source, examples=np.array([5, 5]), stop=1)[0]
    assert len(np.unique(batch["image"].reshape(40, -1), axis=0)) > 30


@pytest.mark.parametrize("batch_size", (7, 100, 128))
def test_evaluation_sees_everything_once(source, batch_size):
    batches = list(eval_batches(source, np.arange(100), VIEW, batch_size))
    indices = np.concatenate([batch["index"] for batch in batches])
    assert all(len(batch["image"]) == batch_size for batch in batches)
    assert indices[indices >= 0].tolist() == list(range(100))
    assert batches[0]["image"].dtype == np.float32
    np.testing.assert_array_equal(batches[0]["image"][0], source.load(np.int64(0))[0])
