"""Images in a bucket, single files and shards, against the same ones on a disk."""

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data.pipeline import readable_examples
from ns_jax.data.sources.base import identity_of
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from tests.bucket.faults import Faults
from tests.data.shards import write
from tests.data.shards.test_sources import KINDS, write_shards

BUCKET = "gs://pictures/data"


def copy_up(server, folder) -> None:
    """Puts the files of a local folder into the bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            server.objects.put("pictures", f"data/{path.relative_to(folder)}", path.read_bytes(), {})


def write_folder(folder) -> None:
    for number, name in enumerate(("b/1.png", "a/2.png", "a/inner/3.PNG", "b-c/4.png", "a/.hidden.png", "a/notes.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(write.png(number))


def assert_alike(here, there) -> None:
    """The same examples in the same order with the same images and labels."""
    assert (here.count, here.class_names) == (there.count, there.class_names)
    everything = np.arange(here.count)
    assert here.ids(everything).tolist() == there.ids(everything).tolist()
    for index in everything.tolist():
        (image, label), (other, other_label) = (source.load(tf.constant(index, tf.int64)) for source in (here, there))
        np.testing.assert_array_equal(image, other)
        assert int(label) == int(other_label)


def test_a_folder(server, tmp_path):
    write_folder(tmp_path)
    copy_up(server, tmp_path)
    there = open_source(f"folder:{BUCKET}")
    assert_alike(open_source(f"folder:{tmp_path}"), there)
    assert there.class_names == ("a", "b", "b-c") and there.notes
    server.objects.put("pictures", "data/a/2.png", write.png(9), {})
    assert open_source(f"folder:{BUCKET}").stamp != there.stamp


@pytest.mark.parametrize("kind", KINDS)
def test_shards(server, tmp_path, kind, monkeypatch):
    more = "" if kind == "parquet" else ":classes=3"
    here = open_source(write_shards(tmp_path, kind) + more)
    for path in tmp_path.glob(".ns_jax_index*"):
        path.unlink()
    copy_up(server, tmp_path)
    there = open_source(f"{kind}:{BUCKET}/train-*{more}")
    assert_alike(here, there)
    assert identity_of(here) == identity_of(there)
    assert any("ns_jax_index" in name for name in server.objects.names("pictures"))
    reads = sum(count for request, count in server.requests.items() if "train-" in request)
    assert_alike(here, open_source(f"{kind}:{BUCKET}/train-*{more}"))  # by the index that was kept
    assert sum(count for request, count in server.requests.items() if "train-" in request) > reads


def test_a_shard_that_is_replaced_is_named(server, tmp_path):
    source = open_source(write_shards(tmp_path, "tfrecord") + ":classes=3")
    copy_up(server, tmp_path)
    source = open_source(f"tfrecord:{BUCKET}/train-*:classes=3")
    server.objects.put("pictures", "data/train-00000-of-00004", b"another", {})
    with pytest.raises(UserError, match="train-00000-of-00004 was replaced or deleted since it was opened"):
        readable_examples(source, 1.0, tmp_path)


def test_an_image_that_cannot_be_fetched_is_not_broken(server, tmp_path, quick_retries):
    write_folder(tmp_path / "images")
    (tmp_path / "images/a/2.png").write_bytes(b"no image")
    copy_up(server, tmp_path / "images")
    source = open_source(f"folder:{BUCKET}")
    server.faults = Faults({503: 1.0}, in_row=1000)
    with pytest.raises(UserError, match="did not answer"):
        readable_examples(source, 1.0, tmp_path)
    assert not list(tmp_path.glob("broken_images*"))
    server.faults = Faults({503: 0.3, "short": 0.3})
    assert readable_examples(source, 1.0, tmp_path).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "name, words",
    [
        ("folder:gs://pictures/nothing", "there is no object in such a folder"),
        ("folder:gs://pictures/file", "that is an object, and no folder"),
        ("folder:gs://nowhere/x", "the bucket gs://nowhere does not exist"),
        ("arrayrecord:gs://pictures/nothing-*", "no file is called so"),
        ("arrayrecord:gs://nowhere/x-*", "the bucket gs://nowhere does not exist"),
        ("arrayrecord:gs://private/x-*", "no permission for the bucket gs://private"),
        ("folder:gs://private/x", "no permission for the bucket gs://private"),
        ("folder:s3://pictures/x", "s3:// is not supported"),
        ("tfrecord:s3://pictures/x-*", "s3:// is not supported"),
        ("hf:gs://pictures/x", "reads no buckets"),
        ("manifest:gs://pictures/x.csv", "reads no buckets"),
    ],
)
def test_lines_for_images_that_are_not_there(server, name, words):
    server.objects.make_empty("private")
    server.forbidden.add("private")
    server.objects.put("pictures", "file", b"", {})
    with pytest.raises(UserError) as caught:
        open_source(name)
    assert words in str(caught.value) and "\n" not in str(caught.value)
