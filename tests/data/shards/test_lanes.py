"""Training from shards in lanes: one host or several, from the beginning or not, read ahead or not."""

import dataclasses
import functools

import numpy as np
import pytest

from ns_jax.data import pipeline
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.order import stream_order
from ns_jax.data.pipeline import Probabilities, train_batches
from ns_jax.data.read_ahead import ReadAhead
from ns_jax.data.shards import formats
from ns_jax.data.shards.formats import FORMATS
from ns_jax.data.shards.listing import shard_of
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.pseudo_labels.copies import CopiesIndex
from tests.data.shards import write
from tests.data.shards.test_sources import IMAGES, KINDS, write_shards

COPIES = [2, 0, 1, 3, 1, 1, 0, 1, 2, 1, 1, 4]
SIZE, STEPS = 8, 5


def read_probabilities(images):
    return np.stack([images, images + 0.5], 1).astype(np.float32)


def stream(source, rows=slice(0, SIZE), start=0, are_far=False, window=5):
    examples = CopiesIndex([np.array(COPIES, np.uint32)], 12)
    batches = train_batches(
        source,
        examples,
        augmentation=Augmentation(("flip",)),
        view=View(8, 0),
        seed=0,
        stream="unlabeled",
        batch_size=SIZE,
        rows=rows,
        start_step=start,
        num_steps=STEPS,
        probabilities=Probabilities(read_probabilities, 2, are_far),
        order=stream_order("lanes", examples, source, SIZE, 3, window),
    )
    return list(batches)


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    more = "" if request.param == "parquet" else ":classes=3"
    return open_source(write_shards(tmp_path, request.param) + more)


def test_hosts_restarts_and_reading_ahead_change_nothing(source, monkeypatch):
    whole = stream(dataclasses.replace(source, read_ahead=None))
    examples = np.concatenate([batch["example"] for batch in whole])
    count = sum(COPIES)
    assert sorted(examples[:count].tolist()) == sorted(examples[count : 2 * count].tolist()) == list(range(count))
    images = np.repeat(np.arange(12), COPIES)[examples]
    np.testing.assert_array_equal(np.concatenate([batch["probs"] for batch in whole]), read_probabilities(images))
    assert np.concatenate([batch["label"] for batch in whole]).tolist() == (images % 3).tolist()

    readers = []
    read_ahead = source.read_ahead or functools.partial(ahead_of, source)
    monkeypatch.setattr(pipeline, "ReadAhead", lambda *given: readers.append(ReadAhead(*given)) or readers[-1])
    far = dataclasses.replace(source, read_ahead=lambda *given: readers.append(read_ahead(*given)) or readers[-1])
    rows, start = slice(2, 6), 1
    for batch, expected in zip(stream(far, rows, start, are_far=True), whole[start:], strict=True):
        assert batch.keys() == expected.keys()
        for key, value in batch.items():
            np.testing.assert_array_equal(value, expected[key][rows])
    assert len(readers) == 2 and all(reader._is_closed and reader._num_held == 0 for reader in readers)


def ahead_of(source, groups, most):
    """What `read_ahead` of a source in a bucket is, of a local one."""
    records = source.read_many.__defaults__[0].__self__
    return records.read_ahead(groups, most)


@pytest.mark.parametrize("kind", ["tfrecord", "wds"])
def test_records_that_lie_near_each_other_come_with_one_request(tmp_path, kind, monkeypatch):
    write_shards(tmp_path, kind)
    form, shard = FORMATS[kind], shard_of(str(tmp_path / "train-00000-of-00004"))
    rows, opened, requests = form.scan(kind, shard).rows, form.open_shard(shard), []
    expected, _ = form.read(opened, rows, np.arange(5))
    opened.is_remote, read = True, opened.read
    opened.read = lambda *asked: requests.append(asked) or read(*asked)
    for positions in ([4, 0, 2, 1, 3], [1], [3, 3], []):
        requests.clear()
        records, _ = form.read(opened, rows, np.array(positions, int))
        assert records == [expected[position] for position in positions]
        assert len(requests) == min(1, len(positions))
    monkeypatch.setattr(formats, "GAP", 0)
    requests.clear()
    assert form.read(opened, rows, np.array([0, 4]))[0] == [expected[0], expected[4]] and len(requests) == 2
    monkeypatch.setattr(formats, "READ_AT_ONCE", 1)
    assert form.read(opened, rows, np.arange(5))[0] == expected and len(requests) == 7


def test_array_records_are_read_in_sequence(tmp_path):
    write_shards(tmp_path, "arrayrecord")
    form, shard = FORMATS["arrayrecord"], shard_of(str(tmp_path / "train-00000-of-00004"))
    records, _ = form.read(form.open_shard(shard, in_sequence=True), None, np.array([0, 2, 4]))
    assert records == [write.example(image=IMAGES[i], label=i % 3) for i in (0, 2, 4)]
