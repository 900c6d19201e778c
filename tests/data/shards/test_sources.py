"""The same twelve images in every format of shards, against their own bytes."""

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data import pipeline
from ns_jax.data.decode import decode_image
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.sources.base import identity_of
from ns_jax.data.sources.orientation import oriented
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from tests.data.shards import write

SIZES = (5, 0, 4, 3)  # of the shards
IMAGES = [write.jpeg(number) for number in range(sum(SIZES))]
LABELS = [number % 3 for number in range(len(IMAGES))]


def parts():
    """Numbers of the images in each shard."""
    ends = np.cumsum(SIZES).tolist()
    return [range(end - size, end) for size, end in zip(SIZES, ends, strict=True)]


def write_shards(folder, kind) -> str:
    """Writes the images as shards; a source string without classes but for Parquet, which has their names itself."""
    for number, part in enumerate(parts()):
        path = folder / f"train-{number:05d}-of-{len(SIZES):05d}"
        if kind == "arrayrecord":
            write.array_record(path, [write.example(image=IMAGES[i], label=LABELS[i]) for i in part])
        elif kind == "tfrecord":
            write.tfrecord(
                path, [write.example(image__encoded=IMAGES[i], image__class__label=LABELS[i] + 1) for i in part]
            )
        elif kind == "wds":
            files = {}
            for i in part:
                files |= {f"a/{i:04d}.jpg": IMAGES[i], f"a/{i:04d}.cls": b"%d" % LABELS[i], f"a/{i:04d}.json": b"{}"}
            write.tar(path, files)
        else:
            write.parquet(path, [IMAGES[i] for i in part], [LABELS[i] for i in part], ["a", "b", "c"])
    return f"{kind}:{folder}/train-*"


KINDS = ("arrayrecord", "tfrecord", "wds", "parquet")


@pytest.fixture(params=KINDS)
def shards(request, tmp_path):
    name = write_shards(tmp_path, request.param)
    return name if request.param == "parquet" else f"{name}:classes=3"


def test_images_labels_and_ids(shards):
    source = open_source(shards)
    assert (source.count, source.num_classes) == (12, 3)
    ids = source.ids(np.arange(12))
    assert ids.dtype.kind == "S"
    assert ids[[0, 5, 11]].tolist() == [b"train-00000-of-00004#0", b"train-00002-of-00004#0", b"train-00003-of-00004#2"]
    order = np.array([11, 0, 4, 5, 5, 8])
    content, labels = source.read_many(tf.constant(order, tf.int64))
    assert content.numpy().tolist() == [IMAGES[i] for i in order]
    assert labels.dtype == tf.int32 and labels.numpy().tolist() == [LABELS[i] for i in order]
    image, label = source.load(tf.constant(7, tf.int64))
    np.testing.assert_array_equal(image, decode_image(tf.constant(IMAGES[7])))
    assert int(label) == LABELS[7]
    assert source.encoded(tf.constant(7, tf.int64)).numpy() == IMAGES[7]


def test_batches_are_those_of_a_folder(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    for number, image in enumerate(IMAGES):
        (folder / f"{LABELS[number]}").mkdir(exist_ok=True)
        (folder / f"{LABELS[number]}" / f"{number:02d}.jpg").write_bytes(image)
    files = open_source(f"folder:{folder}")
    at = np.argsort([int(name.split(b"/")[1][:2]) for name in files.ids(np.arange(12))])  # image -> index of the file
    view = View(16, 0, "bicubic")
    settings = {
        "augmentation": Augmentation(("random_area", "flip")),
        "view": view,
        "seed": 3,
        "stream": "labeled",
        "batch_size": 6,
        "rows": slice(2, 6),
        "start_step": 1,
        "num_steps": 5,
        "clean_view": view,
    }
    for one, other in zip(
        pipeline.train_batches(open_source(shards), np.arange(12), **settings),
        pipeline.train_batches(files, at, **settings),
        strict=True,
    ):
        for key in ("image", "label", "clean", "example"):
            np.testing.assert_array_equal(one[key], other[key])
            assert one[key].dtype == other[key].dtype
    batches = pipeline.eval_batches(open_source(shards), np.arange(12), view, 5)
    assert np.concatenate([batch["label"] for batch in batches])[:12].tolist() == LABELS


def test_without_class_names_there_are_no_labels(tmp_path):
    for kind in ("arrayrecord", "tfrecord", "wds"):
        (tmp_path / kind).mkdir()
        source = open_source(write_shards(tmp_path / kind, kind), labels=False)
        assert source.class_names == () and "classes=FILE" in source.notes[0]
        assert int(source.load(tf.constant(3, tf.int64))[1]) == -1


def test_identity_needs_no_ids_and_follows_the_shards(tmp_path):
    name = write_shards(tmp_path, "tfrecord")
    source = open_source(name)
    assert identity_of(source) == source.identity == open_source(name).identity
    write.tfrecord(
        tmp_path / "train-00002-of-00004", [write.example(image__encoded=IMAGES[0], image__class__label=1)] * 4
    )
    changed = open_source(name)
    assert changed.count == 12 and changed.identity != source.identity
    assert changed.encoded(tf.constant(5, tf.int64)).numpy() == IMAGES[0]


def test_the_official_unlabeled_layout_has_no_labels(tmp_path):
    record = {"image__encoded": IMAGES[1], "probabilities": [0.25, 0.75], "label": 1, "prob": 0.75}
    write.tfrecord(tmp_path / "a", [write.example(**record)])
    source = open_source(f"tfrecord:{tmp_path}/a:classes=2")
    assert source.class_names == () and int(source.load(tf.constant(0, tf.int64))[1]) == -1
    as_label = open_source(f"tfrecord:{tmp_path}/a:label=label,classes=2")
    assert int(as_label.load(tf.constant(0, tf.int64))[1]) == 1


def test_any_layout_by_a_map_of_fields(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    records = [write.example(jpg=IMAGES[i], kind=(b"dog", b"cat")[i % 2]) for i in range(4)]
    write.tfrecord(tmp_path / "x.tfrecord", records)
    with pytest.raises(UserError, match=r"has no feature 'image/encoded' or 'image': it has jpg, kind; name them"):
        open_source(f"tfrecord:{tmp_path}/*.tfrecord")
    source = open_source(f"tfrecord:{tmp_path}/*.tfrecord:image=jpg,label=kind,classes={tmp_path}/names.txt")
    assert source.class_names == ("cat", "dog")
    assert source.read_many(tf.range(4, dtype=tf.int64))[1].numpy().tolist() == [1, 0, 1, 0]
    (tmp_path / "shards.json").write_text('{"image": "jpg", "label": "kind", "class_names": ["cat", "dog"]}')
    beside = open_source(f"tfrecord:{tmp_path}/*.tfrecord")
    assert beside.class_names == ("cat", "dog") and beside.encoded(tf.constant(2, tf.int64)).numpy() == IMAGES[2]


def test_images_are_turned(tmp_path):
    import io

    import PIL.Image

    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (24, 32)).save(buffer, "JPEG", exif=exif)
    write.tar(tmp_path / "a.tar", {"x.jpg": buffer.getvalue()})
    source = oriented(open_source(f"wds:{tmp_path}/a.tar"))
    (batch,) = pipeline.eval_batches(source, np.arange(1), View(8, 0, "bicubic"), 1)
    assert source.decode(tf.constant(buffer.getvalue())).shape == (24, 32, 3)
    assert batch["image"].shape == (1, 8, 8, 3)


def test_few_files_stay_open(tmp_path):
    """Of 300 shards, with room for 256 open files."""
    import os
    import resource

    for number in range(300):
        write.tfrecord(tmp_path / f"{number:03d}", [write.example(image=IMAGES[number % 12])])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        source = open_source(f"tfrecord:{tmp_path}/???")
        before = len(os.listdir("/proc/self/fd"))
        content, _ = source.read_many(tf.range(300, dtype=tf.int64))
        assert len(os.listdir("/proc/self/fd")) - before <= 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert content.numpy().tolist() == [IMAGES[number % 12] for number in range(300)]
