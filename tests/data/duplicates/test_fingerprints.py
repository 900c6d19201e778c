import builtins
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from etils import epath

from ns_jax.data.duplicates import fingerprints as module
from ns_jax.data.duplicates.fingerprints import FINGERPRINT, fingerprints, stored_fingerprints
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from tests.data.duplicates.photos import save_copy, write_photos

imagehash = pytest.importorskip("imagehash")


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """One photograph and its copies, another one, and two files that are no images."""
    folder = tmp_path_factory.mktemp("copies") / "images"
    photo, other = write_photos(folder, 2)
    photo, other = photo.rename(folder / "photo.jpg"), other.rename(folder / "other.jpg")
    shutil.copy(photo, folder / "copy.jpeg")
    decoded = tf.io.decode_image(photo.read_bytes(), channels=3)
    (folder / "same_pixels.png").write_bytes(tf.io.encode_png(decoded).numpy())
    save_copy(photo, folder / "quality_40.jpg", quality=40)
    save_copy(photo, folder / "small.png", size=(125, 94))
    (folder / "cut_off.jpg").write_bytes(photo.read_bytes()[:-4000])
    (folder / "no_image.png").write_bytes(b"no image at all")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def by_name(copies):
    """{name of the file: its record}, of those that decode."""
    source = open_source(copies)
    records = fingerprints(source, 4)
    assert records.dtype == FINGERPRINT and (np.diff(records["index"]) > 0).all()
    return dict(zip([name.decode() for name in source.ids(records["index"]).tolist()], records, strict=True))


def test_broken_images_have_none(by_name):
    assert sorted(by_name) == ["copy.jpeg", "other.jpg", "photo.jpg", "quality_40.jpg", "same_pixels.png", "small.png"]


@pytest.mark.parametrize(
    "field, same", [("stored", {"copy.jpeg", "photo.jpg"}), ("pixels", {"copy.jpeg", "photo.jpg", "same_pixels.png"})]
)
def test_digests(by_name, field, same):
    assert {name for name, record in by_name.items() if record[field] == by_name["photo.jpg"][field]} == same
    assert len({record[field] for record in by_name.values()}) == len(by_name) - len(same) + 1


def test_perceptual_hashes(by_name, copies):
    reference = int(by_name["photo.jpg"]["perceptual"])
    distances = {name: (int(record["perceptual"]) ^ reference).bit_count() for name, record in by_name.items()}
    assert distances.pop("other.jpg") > 20 and max(distances.values()) <= 4
    assert distances["same_pixels.png"] == 0
    with PIL.Image.open(copies.removeprefix("folder:") + "/other.jpg") as image:
        assert int(by_name["other.jpg"]["perceptual"]) == int(str(imagehash.phash(image)), 16)


def test_images_that_are_not_files():
    """The digits lie in memory: their pixels are hashed alone."""
    records = fingerprints(open_source("mnist5k:labeled"), -1)
    assert len(records) == 100 and set(records["stored"]) == {b""} and not records["perceptual"].any()
    assert len(set(records["pixels"])) == 100


def arrays(shape, dtype):
    values = tf.cast(tf.reshape(tf.range(4 * np.prod(shape)), (4, *shape)), dtype)
    return Source(
        name="own:arrays",
        count=4,
        class_names=(),
        load=lambda index, window=None: (values[index], -1),
        ids=lambda indices: np.char.mod(b"%d", indices),
    )


def test_arrays_are_compared_as_numbers():
    records = fingerprints(arrays((5,), tf.float32), -1)
    assert len(set(records["pixels"])) == 4
    for shape, dtype in (((5,), tf.float32), ((8, 8, 3), tf.float32), ((8, 8, 4), tf.uint8)):
        with pytest.raises(UserError, match=r"own:arrays holds \w+ arrays of shape .*: with --distance=-1"):
            fingerprints(arrays(shape, dtype), 0)


def test_an_error_of_the_hash_is_no_broken_image(copies, monkeypatch):
    def fail(image):
        raise ValueError("a defect of this program")

    monkeypatch.setattr(module, "perceptual_hash", lambda: (fail, "x"))
    with pytest.raises(tf.errors.OpError, match="a defect of this program"):
        fingerprints(open_source(copies), 4)


def test_progress(monkeypatch):
    told = []
    fingerprints(open_source("mnist5k:labeled"), -1, told.append)
    assert told == [64]


def test_fingerprints_of_files_are_kept(copies, tmp_path, monkeypatch):
    source, beside = open_source(copies), epath.Path(tmp_path / "out.jsonl")
    first = stored_fingerprints(source, 4, beside)
    (kept,) = tmp_path.iterdir()
    monkeypatch.setattr(module, "fingerprints", lambda *arguments: pytest.fail("computed again"))
    assert stored_fingerprints(source, 4, beside).tobytes() == first.tobytes()
    for content in (kept.read_bytes()[:-5], b"", b"\x93NUMPY"):
        kept.write_bytes(content)
        with pytest.raises(UserError, match=r"out.jsonl.*.npy is damaged; delete it"):
            stored_fingerprints(source, 4, beside)
    # With other files, or without a perceptual hash, they are others; without a stamp nothing is kept.
    monkeypatch.setattr(module, "fingerprints", lambda *arguments: first[:2])
    assert len(stored_fingerprints(source, -1, beside)) == 2 and len(list(tmp_path.iterdir())) == 2
    assert len(stored_fingerprints(open_source("mnist5k:labeled"), 4, beside)) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_missing_package(monkeypatch):
    real_import = builtins.__import__

    def without_imagehash(name, *args, **kwargs):
        if name == "imagehash":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_imagehash)
    with pytest.raises(UserError, match=r"pip install 'ns_jax\[deduplicate\]'"):
        fingerprints(open_source("mnist5k:labeled"), 0)
    assert len(fingerprints(open_source("mnist5k:labeled"), -1)) == 100
