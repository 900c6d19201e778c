"""Examples are predicted in order and once, whatever is on its way at the same time."""

import threading
import types

import numpy as np
import pytest
from etils import epath

from ns_jax.artifact.weights import Artifact
from ns_jax.errors import Stopped, UserError
from ns_jax.inference import predictor as module
from ns_jax.inference.ahead import InThread
from ns_jax.inference.predictor import Predictor
from ns_jax.models.base import build_network
from ns_jax.parallel.mesh import make_mesh
from tests.extending.own_source import open_rings
from tests.extending.own_vector_model import TwoLayersArchitecture


@pytest.fixture(scope="module")
def predictor(quick_compilation):
    network = build_network(TwoLayersArchitecture(), 2)
    artifact = Artifact(network.init(0), {"class_names": ["inner", "outer"]}, epath.Path("/nowhere"))
    return Predictor(artifact, network, None, make_mesh(), 16)


@pytest.fixture(scope="module")
def source():
    return open_rings("unlabeled", "")


def expected(predictor, source, indices) -> np.ndarray:
    """Probabilities, batch after batch by hand."""
    batches = list(predictor(source, indices, predictor.num_batches(len(indices))))
    assert np.concatenate([places for _, _, places in batches]).tolist() == list(indices)
    return np.concatenate([probs for probs, _, _ in batches])


def test_lists_one_after_the_other(predictor, source):
    lists = [np.arange(3, 40), np.arange(0), np.array([7]), np.arange(100, 132)]
    got = list(predictor.lists(source, iter(lists)))
    for probs, indices in zip(got, lists, strict=True):
        assert probs.dtype == np.float32 and probs.shape == (len(indices), 2)
        np.testing.assert_array_equal(probs, expected(predictor, source, indices))


def test_the_next_list_is_begun_before_the_last_one_is_taken(predictor, source):
    asked = threading.Semaphore(0)

    def lists():
        for begin in (0, 16, 32, 48):
            asked.release()
            yield np.arange(begin, begin + 16)

    with_lists = predictor.lists(source, lists())
    next(with_lists)
    assert all(asked.acquire(timeout=20) for _ in range(3))
    with_lists.close()


def test_a_sigterm_ends_it(predictor, source, monkeypatch):
    answers = iter([False, False, True])
    monkeypatch.setattr(module, "must_stop", lambda together: next(answers))
    with pytest.raises(Stopped):
        list(predictor.lists(source, [np.arange(384)]))
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_hosts_with_less_to_do_run_as_many_batches(predictor, source):
    counted = [len(places) for _, _, places in predictor(source, np.arange(20), 4)]
    assert counted == [16, 4, 0, 0]


def test_probabilities_that_are_no_numbers(predictor, source, monkeypatch):
    monkeypatch.setattr(predictor, "_predict", lambda variables, examples, ids: examples * np.float32(np.nan))
    with pytest.raises(UserError, match="gives probabilities that are not numbers"):
        next(predictor.lists(source, [np.arange(4)]))


def test_what_the_reader_raises_is_raised_here():
    def items():
        yield 1
        raise UserError("gone")

    with InThread(items(), 2) as ahead:
        assert next(ahead) == 1
        for _ in range(2):
            with pytest.raises(UserError, match="gone"):
                next(ahead)
    with InThread(iter([]), 1) as ahead, pytest.raises(StopIteration):
        next(ahead)
    endless = types.SimpleNamespace(count=0)

    def counting():
        while True:
            endless.count += 1
            yield endless.count

    with InThread(counting(), 3) as ahead:
        assert [next(ahead) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert endless.count <= 9
