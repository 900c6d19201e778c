import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data import pipeline
from ns_jax.data.ops.registry import Augmentation, RandAugmentSettings
from ns_jax.data.pipeline import eval_batches, stream_seed, train_batches
from ns_jax.data.preprocess import train_image
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View

VIEW = View(28, 0)
AUGMENTATION = Augmentation(("pad4", "randaugment"), RandAugmentSettings(2, 10.0, "digits"))


@pytest.fixture(scope="module")
def source():
    return open_source("mnist5k:labeled")


def stream(source, start=0, stop=7, rows=slice(0, 40), examples=None, seed=0, **arguments):
    examples = np.arange(source.count) if examples is None else examples
    given = {
        "augmentation": AUGMENTATION,
        "view": VIEW,
        "seed": seed,
        "stream": "labeled",
        "batch_size": 40,
        "rows": rows,
        "start_step": start,
        "num_steps": stop,
    }
    return list(train_batches(source, examples, **given | arguments))


@pytest.fixture(scope="module")
def whole(source):
    return stream(source)


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for key in other:
            np.testing.assert_array_equal(batch[key], other[key])


def test_every_example_once_an_epoch(whole):
    order = np.concatenate([batch["example"] for batch in whole])
    first, second = order[:100], order[100:200]
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any() and (first != np.arange(100)).any()


def test_a_restart_continues_the_stream(source, whole):
    assert_same(stream(source, start=3), whole[3:])


def test_processes_feed_their_parts(source, whole):
    for rows in (slice(0, 20), slice(20, 40)):
        assert_same(stream(source, rows=rows), [{key: value[rows] for key, value in batch.items()} for batch in whole])


def test_seeds_differ(source, whole):
    other = stream(source, seed=1, stop=1)[0]
    assert (other["image"] != whole[0]["image"]).any() and (other["example"] != whole[0]["example"]).any()


def test_copies_get_noise_of_their_own(source):
    batch = stream(source, examples=np.array([5, 5]), stop=1)[0]
    assert len(np.unique(batch["image"].reshape(40, -1), axis=0)) > 30


def test_a_clean_view_shows_the_same_examples(source, whole):
    batches = stream(source, clean_view=View(20, 0))
    assert_same([{key: batch[key] for key in whole[0]} for batch in batches], whole)
    clean = next(eval_batches(source, batches[0]["example"], View(20, 0), 40))
    np.testing.assert_array_equal(batches[0]["clean"], clean["image"])


def test_a_weak_view_is_noised_by_itself(source, whole):
    weak = Augmentation(("pad4",))
    first, second = (stream(source, clean_view=View(20, 0), clean_augmentation=weak, stop=1)[0] for _ in range(2))
    assert_same([{key: first[key] for key in whole[0]}], whole[:1])
    np.testing.assert_array_equal(first["clean"], second["clean"])
    clean = next(eval_batches(source, first["example"], View(20, 0), 40))["image"]
    assert first["clean"].shape == clean.shape and first["clean"].dtype == np.float32
    assert (first["clean"] != clean).any(axis=(1, 2, 3)).mean() > 0.8


def test_without_operations_images_are_the_clean_view_as_uint8(source):
    batch = stream(source, stop=1, augmentation=Augmentation(), view=View(20, 8))[0]
    clean = next(eval_batches(source, batch["example"], View(20, 8), 40))["image"]
    assert batch["image"].dtype == np.uint8
    np.testing.assert_array_equal(batch["image"], np.clip(clean, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("batch_size", (7, 100, 128))
def test_evaluation_sees_everything_once(source, batch_size):
    batches = list(eval_batches(source, np.arange(100), VIEW, batch_size))
    indices = np.concatenate([batch["index"] for batch in batches])
    assert all(len(batch["image"]) == batch_size for batch in batches)
    assert indices[indices >= 0].tolist() == list(range(100))
    assert batches[0]["image"].dtype == np.float32
    np.testing.assert_array_equal(batches[0]["image"][0], source.load(np.int64(0))[0])


def test_noised_evaluation_draws_by_index(source):
    batch = next(eval_batches(source, np.array([17, 3]), VIEW, 4, noise=(AUGMENTATION, 5)))
    assert batch["image"].dtype == np.float32 and batch["index"].tolist() == [17, 3, -1, -1]
    for image, index in zip(batch["image"], (17, 3), strict=False):
        seed = tf.constant([stream_seed(5, "teacher"), index], tf.int64)
        np.testing.assert_array_equal(image, train_image(source.load(np.int64(index))[0], AUGMENTATION, VIEW, seed))


# Arrays instead of images.
def jitter(array, seed, augmentation):
    return array + 0.01 * tf.random.stateless_normal(array.shape, seed)


def vectors():
    rows = tf.constant(np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32))
    return Source(
        name="vectors",
        count=10,
        class_names=("even", "odd"),
        load=lambda index, window=None: (rows[index], tf.cast(index % 2, tf.int32)),
        ids=lambda indices: np.char.mod(b"vector-%d", indices),
    )


def test_arrays_have_no_window_and_no_resize_but_operations():
    own = Augmentation((f"{__name__}:jitter",))
    source, arguments = vectors(), {"view": None, "examples": np.arange(10), "stop": 2}
    plain = stream(source, augmentation=Augmentation(), **arguments)
    jittered = stream(source, augmentation=own, with_clean=True, **arguments)
    everything = np.stack([source.load(index)[0] for index in range(10)])
    for batch, noised in zip(plain, jittered, strict=True):
        np.testing.assert_array_equal(batch["image"], everything[batch["example"]])
        np.testing.assert_array_equal(noised["clean"], batch["image"])
        assert 0 < np.abs(noised["image"] - batch["image"]).max() < 0.1
    (evaluated,) = eval_batches(source, np.arange(10), None, 12)
    np.testing.assert_array_equal(evaluated["image"][:10], everything)
    assert evaluated["label"].tolist() == [0, 1] * 5 + [0, 0] and evaluated["index"].tolist()[-2:] == [-1, -1]
    (noised,) = eval_batches(source, np.arange(10), None, 10, noise=(own, 0))
    assert 0 < np.abs(noised["image"] - everything).max() < 0.1


def test_streams_leave_nothing_in_the_temporary_folder(source, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stream(source, stop=1, augmentation=Augmentation(("pad4", "flip", "randaugment", "cutout"), cutout_size=8))
    list(eval_batches(source, np.arange(3), VIEW, 3))
    assert not list(tmp_path.iterdir())


def test_threads_follow_the_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False)
    assert pipeline.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert pipeline.usable_cores() == os.cpu_count()
