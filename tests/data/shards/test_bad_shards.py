"""What can be wrong with shards is named, and nothing that is whole is lost."""

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data import pipeline
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.sampling import labels_of
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from tests.data.shards import write
from tests.data.shards.test_sources import IMAGES, KINDS, write_shards

VIEW = View(8, 0, "bicubic")


def last_path(folder):
    return folder / "train-00003-of-00004"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [1, 40, 300])
def test_truncated(tmp_path, kind, lost):
    name = write_shards(tmp_path, kind)
    content = last_path(tmp_path).read_bytes()
    last_path(tmp_path).write_bytes(content[: len(content) - lost])
    with pytest.raises(UserError, match="train-00003-of-00004 is truncated or damaged .*copy it again") as error:
        open_source(name)
    assert "\n" not in str(error.value)
    last_path(tmp_path).write_bytes(content)  # what was learned of the others is not wrong now
    assert open_source(name).count == 12


@pytest.mark.parametrize("kind", KINDS)
def test_no_shard_at_all(tmp_path, kind):
    (tmp_path / "x").write_bytes(b"something else, and long enough to be anything" * 40)
    with pytest.raises(UserError, match="x is truncated or damaged"):
        open_source(f"{kind}:{tmp_path}/x")
    with pytest.raises(UserError, match="no file is called so"):
        open_source(f"{kind}:{tmp_path}/nothing-*")


def test_missing_in_a_series(tmp_path):
    name = write_shards(tmp_path, "tfrecord")
    (tmp_path / "train-00001-of-00004").unlink()
    with pytest.raises(UserError, match="1 of 4 shards are missing, first .*/train-00001-of-00004"):
        open_source(name)


def test_replaced_in_between(tmp_path):
    name = write_shards(tmp_path, "tfrecord")
    source = open_source(name)
    write.tfrecord(last_path(tmp_path), [write.example(image__encoded=IMAGES[0])])
    with pytest.raises(UserError, match=r"train-00003-of-00004 was replaced since it was opened .*start again"):
        list(pipeline.eval_batches(source, np.arange(12), VIEW, 4))
    last_path(tmp_path).unlink()
    with pytest.raises(UserError, match="cannot read .*train-00003-of-00004 .*put it back"):
        list(pipeline.eval_batches(source, np.arange(12), VIEW, 4))


def test_two_layouts(tmp_path):
    write.tfrecord(tmp_path / "a", [write.example(image__encoded=IMAGES[0], image__class__label=1)])
    write.tfrecord(tmp_path / "b", [write.example(image=IMAGES[0])])
    message = (
        "/a and .*/b hold records of different layouts .*'image/encoded'.*'image', no label.*name files of one kind"
    )
    with pytest.raises(UserError, match=message):
        open_source(f"tfrecord:{tmp_path}/[ab]")


def test_records_without_an_image_are_broken_images(tmp_path):
    records = [write.example(image=IMAGES[0]), write.example(label=3), write.example(image=IMAGES[2])]
    write.tfrecord(tmp_path / "a", records)
    write.tar(tmp_path / "b.tar", {"1.jpg": IMAGES[1], "2.txt": b"no image", "3.jpg": IMAGES[0][:-200]})
    source = open_source(f"tfrecord:{tmp_path}/a")
    with pytest.raises(UserError, match="1 of 3 images cannot be decoded, first 'a#1'"):
        pipeline.readable_examples(source, 0.0, tmp_path / "cache")
    assert pipeline.readable_examples(source, 0.5, tmp_path / "cache").tolist() == [0, 2]
    source = open_source(f"wds:{tmp_path}/b.tar")
    assert pipeline.readable_examples(source, 0.9, tmp_path / "cache").tolist() == [0]
    source = open_source(f"wds:{tmp_path}/b.tar:checked=yes")
    assert pipeline.readable_examples(source, 0.0, tmp_path / "cache").tolist() == [0, 1, 2]


def test_a_label_out_of_range_is_named(tmp_path):
    records = [write.example(image__encoded=IMAGES[i], image__class__label=label) for i, label in enumerate([1, 4, 2])]
    write.tfrecord(tmp_path / "a", records)
    source = open_source(f"tfrecord:{tmp_path}/a:classes=3")
    message = r"a label is none of the 3 classes \(index, label counted from 0\) 1 3$"
    with pytest.raises(UserError, match=message):
        list(pipeline.eval_batches(source, np.arange(3), VIEW, 3))
    with pytest.raises(UserError, match=message):
        labels_of(source, np.arange(3))
    assert labels_of(source, np.array([2, 0])).tolist() == [1, 0]
    with pytest.raises(UserError, match=message):
        list(
            pipeline.train_batches(
                source,
                np.arange(3),
                augmentation=Augmentation(()),
                view=VIEW,
                seed=0,
                stream="labeled",
                batch_size=3,
                rows=slice(0, 3),
                start_step=0,
                num_steps=2,
            )
        )


def test_a_wrong_record_is_named(tmp_path):
    write.tfrecord(tmp_path / "a", [write.example(image=IMAGES[0]), b"\xff\xff\xff no example"])
    source = open_source(f"tfrecord:{tmp_path}/a")
    assert pipeline.readable_examples(source, 0.5, tmp_path / "cache").tolist() == [0]


@pytest.mark.parametrize(
    "rest, message",
    [
        ("{}/a:colour=red", "'colour' is none of the settings image, label, first_label, classes, checked"),
        ("{}/a:classes=/nowhere", "classes=/nowhere is neither a number nor a file"),
        ("{}/a:first_label=one", "first_label is a whole number"),
        ("{}/a:checked=perhaps", "checked is yes or no"),
        ("{}/a:image=label", "has no image in the feature 'label': it has image, label"),
        ("{}/a:label=class", "has no feature 'class' for the label"),
        ("{}", "is a folder: name the files in it"),
        (":classes=3", "name files"),
    ],
)
def test_what_a_string_may_say(tmp_path, rest, message):
    write.tfrecord(tmp_path / "a", [write.example(image=IMAGES[0], label=0)])
    with pytest.raises(UserError, match=message):
        open_source("tfrecord:" + rest.format(tmp_path))


def test_an_index_is_kept_and_learned_anew_of_what_changed(tmp_path, monkeypatch):
    from ns_jax.data.shards.formats import TFRecord

    scanned, scan = [], TFRecord.scan

    def counting(self, source, shard):
        scanned.append(shard.name)
        return scan(self, source, shard)

    monkeypatch.setattr(TFRecord, "scan", counting)
    name = write_shards(tmp_path, "tfrecord")
    first = open_source(name)
    assert len(scanned) == 4 and open_source(name).identity == first.identity and len(scanned) == 4
    write.tfrecord(
        tmp_path / "train-00002-of-00004", [write.example(image__encoded=IMAGES[9], image__class__label=1)] * 2
    )
    again = open_source(name)
    assert scanned[4:] == ["train-00002-of-00004"] and again.count == 10
    assert again.encoded(tf.constant(6, tf.int64)).numpy() == IMAGES[9]
    assert again.encoded(tf.constant(9, tf.int64)).numpy() == IMAGES[11]
    assert len(list(tmp_path.glob(".ns_jax_index-*.rows"))) == 1
    for kept in tmp_path.glob(".ns_jax_index-*.npz"):
        kept.write_bytes(b"damaged")
    assert open_source(name).identity == again.identity


def test_an_index_elsewhere(tmp_path, monkeypatch):
    from etils import epath

    from ns_jax.data.shards import index

    monkeypatch.setattr(index, "check_writable", refuse(index.check_writable, tmp_path / "shards"))
    (tmp_path / "shards").mkdir()
    name = write_shards(tmp_path / "shards", "wds")
    source = open_source(name, cache_dir=str(tmp_path / "cache"))
    assert source.count == 12 and len(list(epath.Path(tmp_path / "cache").glob(".ns_jax_index-*"))) == 2
    assert not list((tmp_path / "shards").glob(".ns_jax_index-*"))


def refuse(check, folder):
    """A check that a folder cannot be written, as one of another user's."""

    def refusing(path):
        if str(path).startswith(f"{folder}/"):
            raise PermissionError(13, "Permission denied")
        check(path)

    return refusing
