"""What is packed is what was there, however often it was interrupted."""

import io
import resource

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from array_record.python import array_record_module
from etils import epath

from ns_jax.data import packing, pipeline
from ns_jax.data.packing import Packer, PackSettings, verify
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.files import read_json
from tests.data.shards import write

SETTINGS = PackSettings(per_shard=4, workers=2)


@pytest.fixture
def photos(tmp_path):
    """Eleven JPEGs of two classes, a file that is cut off, one that is no image, and one that is too small."""
    folder = tmp_path / "photos"
    for number in range(11):
        path = folder / ("cat", "dog")[number % 2] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write.jpeg(number))
    (folder / "cat" / "cut.jpg").write_bytes(write.jpeg(1)[:-200])
    (folder / "dog" / "none.png").write_bytes(b"no image")
    (folder / "dog" / "tiny.png").write_bytes(tf.io.encode_png(np.zeros((3, 30, 3), np.uint8)).numpy())
    return folder


def contents(source) -> dict[bytes, int]:
    """{file: label} of all examples."""
    files, labels = source.read_many(tf.range(source.count, dtype=tf.int64))
    return dict(zip(files.numpy().tolist(), labels.numpy().tolist(), strict=True))


def test_a_folder(photos, tmp_path):
    out, heard = epath.Path(tmp_path / "out"), []
    about = Packer(open_source(f"folder:{photos}"), out, SETTINGS).run(heard.append)
    assert max(heard) == 14 and [shard["count"] for shard in about["shards"].values()] == [4, 3, 4, 0]
    assert (
        out / "broken.csv"
    ).read_text() == "path,reason\ncat/cut.jpg,broken\ndog/none.png,broken\ndog/tiny.png,small\n"
    packed = open_source(f"arrayrecord:{out}/images-*")
    assert (packed.count, packed.class_names) == (11, ("cat", "dog"))
    assert contents(packed) == {write.jpeg(number): number % 2 for number in range(11)}
    assert not packed.may_be_broken and pipeline.readable_examples(packed, 0, tmp_path).tolist() == list(range(11))
    reader = array_record_module.ArrayRecordReader(str(out / "images-00001-of-00004.array_record"))
    first = tf.train.Example.FromString(reader.read([0])[0]).features.feature
    assert first["id"].bytes_list.value[0] == b"cat/08.jpg"
    assert not (out / ".pack").exists() and verify(out) == []


def all_bytes(folder):
    return {path.name: path.read_bytes() for path in epath.Path(folder).iterdir() if path.suffix == ".array_record"}


def test_interrupted_again_and_again(photos, tmp_path, monkeypatch):
    source, whole, out = open_source(f"folder:{photos}"), tmp_path / "whole", epath.Path(tmp_path / "out")
    Packer(source, epath.Path(whole), SETTINGS).run()
    prepared, calls = Packer._prepared, 0

    def interrupted(self, content):
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            raise KeyboardInterrupt
        return prepared(self, content)

    monkeypatch.setattr(Packer, "_prepared", interrupted)
    stamps, interruptions = {}, 0
    for _ in range(20):
        try:
            Packer(source, out, PackSettings(per_shard=4, workers=1)).run()
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert not (out / "shards.json").exists()
        now = {path.name: path.stat().mtime for path in out.glob("*.array_record")}
        assert stamps.items() <= now.items()  # what is complete is not written again
        stamps = now
    assert interruptions >= 2 and all_bytes(out) == all_bytes(whole)
    assert read_json(out / "shards.json")["shards"] == read_json(whole / "shards.json")["shards"]
    assert not list(out.glob(".*.tmp"))
    assert Packer(source, out, SETTINGS).run()["shards"].keys() == all_bytes(out).keys()  # nothing to do


def test_shorter_side(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (60, 45), (200, 30, 30)).save(buffer, "JPEG", exif=exif)
    png = tf.io.encode_png(np.full((50, 21, 3), 9, np.uint8)).numpy()
    files = {"a.jpg": buffer.getvalue(), "b.png": png, "c.jpg": write.jpeg(3, (20, 80))}
    write.tar(tmp_path / "x.tar", files)
    source = open_source(f"wds:{tmp_path}/x.tar")
    Packer(source, epath.Path(tmp_path / "out"), PackSettings(shorter_side=20)).run()
    packed = open_source(f"arrayrecord:{tmp_path}/out/images-*", labels=False)
    stored, labels = packed.read_many(tf.range(3, dtype=tf.int64))
    first, second, third = (PIL.Image.open(io.BytesIO(content)) for content in stored.numpy())
    assert (first.format, first.size, first.getexif()[0x0112]) == ("JPEG", (27, 20), 6)
    assert (second.format, second.size) == ("PNG", (20, 48)) and np.asarray(second).max() == 9
    assert stored.numpy()[2] == files["c.jpg"] and third.size == (20, 80)
    assert labels.numpy().tolist() == [-1] * 3 and np.abs(np.asarray(first).astype(int) - (200, 30, 30)).max() < 8


def test_labels_of_shards_and_arrays_without_files(tmp_path):
    write.tar(tmp_path / "x.tar", {"a.jpg": write.jpeg(1), "a.cls": b"1", "b.jpg": write.jpeg(2), "b.cls": b"0"})
    Packer(open_source(f"wds:{tmp_path}/x.tar:classes=2"), epath.Path(tmp_path / "tar"), SETTINGS).run()
    packed = open_source(f"arrayrecord:{tmp_path}/tar/images-*")
    assert contents(packed) == {write.jpeg(1): 1, write.jpeg(2): 0} and packed.class_names == ("0", "1")
    digits = open_source("mnist5k:labeled")
    Packer(digits, epath.Path(tmp_path / "digits"), PackSettings(per_shard=40)).run()
    packed = open_source(f"arrayrecord:{tmp_path}/digits/images-*")
    for index in (0, 41, 99):
        image, label = packed.load(tf.constant(index, tf.int64))
        expected, number = digits.load(tf.constant(index, tf.int64))
        np.testing.assert_array_equal(image, expected)
        assert int(label) == int(number)


def test_what_cannot_be_read_is_no_broken_image(photos, tmp_path):
    source, out = open_source(f"folder:{photos}"), epath.Path(tmp_path / "out")
    (photos / "dog" / "03.jpg").unlink()
    with pytest.raises(UserError, match="cannot read an image .*03.jpg"):
        Packer(source, out, SETTINGS).run()
    (photos / "dog" / "03.jpg").write_bytes(write.jpeg(3))
    assert len(contents(open_packed(source, out))) == 11


def open_packed(source, out):
    Packer(source, out, SETTINGS).run()
    return open_source(f"arrayrecord:{out}/images-*")


def test_a_record_that_is_no_example_spoils_no_others(tmp_path):
    records = [write.example(image=write.jpeg(0)), b"\xff\xff no example", write.example(image=write.jpeg(2))]
    write.tfrecord(tmp_path / "a", records)
    about = Packer(open_source(f"tfrecord:{tmp_path}/a"), epath.Path(tmp_path / "out"), SETTINGS).run()
    assert [shard["count"] for shard in about["shards"].values()] == [2]
    assert (tmp_path / "out" / "broken.csv").read_text() == "path,reason\na#1,broken\n"


def test_other_settings_and_other_files(photos, tmp_path, monkeypatch):
    source, out = open_source(f"folder:{photos}"), epath.Path(tmp_path / "out")
    Packer(source, out, SETTINGS)
    with pytest.raises(
        UserError, match=r"was packed with another shorter_side \(0 then, 9 now\): choose another --out"
    ):
        Packer(source, out, PackSettings(per_shard=4, shorter_side=9))
    Packer(source, out, SETTINGS).run()
    (photos / "dog" / "extra.jpg").write_bytes(write.jpeg(5))
    with pytest.raises(UserError, match="was packed with another"):
        Packer(open_source(f"folder:{photos}"), out, SETTINGS)
    with pytest.raises(UserError, match="is not empty: choose another --out"):
        Packer(source, epath.Path(photos), SETTINGS)


def test_a_damaged_shard_is_named(photos, tmp_path):
    out = epath.Path(tmp_path / "out")
    Packer(open_source(f"folder:{photos}"), out, SETTINGS).run()
    shard = out / "images-00002-of-00004.array_record"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    (out / "images-00000-of-00004.array_record").unlink()
    assert verify(out) == ["images-00000-of-00004.array_record", shard.name]
    with pytest.raises(UserError, match="is no folder that was packed"):
        verify(epath.Path(photos))


def test_a_full_disk_keeps_what_is_complete(tmp_path):
    """A limit of the size of files stands for the disk: the second shard does not fit."""
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        size = 60 if number < 2 else 500
        image = tf.io.encode_png(random.integers(0, 256, (size, size, 3), dtype=np.uint8))
        (tmp_path / "in" / f"{number}.png").write_bytes(image.numpy())
    source, out = open_source(f"folder:{tmp_path}/in"), epath.Path(tmp_path / "out")
    settings = PackSettings(per_shard=2, workers=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError)):
            Packer(source, out, settings).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in out.glob("*.array_record")] == ["images-00000-of-00002.array_record"]
    assert not list(out.glob(".*.tmp"))
    Packer(source, out, settings).run()
    assert contents(open_source(f"arrayrecord:{out}/images-*")).keys() == {
        (tmp_path / "in" / f"{number}.png").read_bytes() for number in range(4)
    }


def test_shards_by_any_number_of_workers_are_the_same(photos, tmp_path):
    source = open_source(f"folder:{photos}")
    for workers in (1, 3):
        Packer(source, epath.Path(tmp_path / f"{workers}"), PackSettings(per_shard=3, workers=workers)).run()
    assert all_bytes(tmp_path / "1") == all_bytes(tmp_path / "3")
    assert packing.SIDECAR not in all_bytes(tmp_path / "1")
