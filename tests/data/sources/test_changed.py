"""Sources of changed copies: corruptions and perturbation sequences of any images, and in the official folders."""

import numpy as np
import PIL.Image
import pytest

from ns_jax.data.corruptions.corrupt import corrupt, generator_of
from ns_jax.data.corruptions.sequences import PERTURBATIONS, num_frames
from ns_jax.data.corruptions.tables import CORRUPTIONS
from ns_jax.data.pipeline import eval_batches, readable_examples
from ns_jax.data.sources import perturbed
from ns_jax.data.sources.orientation import oriented
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """folder: source of two classes, three images of 24 to 40 px, one of which is no image."""
    random = np.random.default_rng(0)
    for name, size in (("cat/a.png", (24, 24)), ("cat/b.png", (40, 30)), ("dog/c.png", (33, 33))):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        image = random.integers(0, 256, (*size, 3)).astype(np.uint8)
        PIL.Image.fromarray(image).save(tmp_path / "photos" / name)
    return f"folder:{tmp_path / 'photos'}"


def test_every_copy_has_its_place_and_its_own_noise(photos):
    source = open_source(f"corrupted:24:{photos}")
    assert source.count == 75 * 3 and len(source.parts) == 75 and source.class_names == ("cat", "dog")
    names = [part.name for part in source.parts]
    assert names[:6] == [*(f"gaussian_noise/{severity}" for severity in range(1, 6)), "shot_noise/1"]
    place = source.parts[names.index("fog/3")]
    assert source.ids(np.array([place.start, place.stop - 1])).tolist() == [b"fog/3/cat/a.png", b"fog/3/dog/c.png"]
    image, label = source.load(place.start)
    original = open_source(photos).load(0)[0].numpy()  # 24 px already: the square is the image
    want = corrupt(original, "fog", 3, generator_of(0, b"cat/a.png", "fog", "3"))
    np.testing.assert_array_equal(image, want)
    assert image.dtype == "uint8" and label.numpy() == 0
    assert source.original_index(np.array([0, 1, 2, 3, 224])).tolist() == [0, 1, 2, 0, 2]


def test_copies_are_the_same_whatever_the_batch(photos):
    source = open_source(f"corrupted:16+4:{photos}")
    view, everything = View(16, 0), np.arange(0, 225, 7)
    whole = next(eval_batches(source, everything, view, len(everything)))["image"]
    parts = [batch["image"] for batch in eval_batches(source, everything[::-1].copy(), view, 11)]
    np.testing.assert_array_equal(whole, np.concatenate(parts)[: len(everything)][::-1])


def test_a_broken_image_is_broken_in_every_copy(photos, tmp_path):
    (tmp_path / "photos" / "dog" / "d.png").write_bytes(b"no image")
    source = open_source(f"corrupted:24:{photos}")
    readable = readable_examples(source, 0.5, tmp_path / "cache")
    assert len(readable) == 75 * 3 and 3 not in np.asarray(readable) % 4
    with pytest.raises(UserError, match=r"1 of 4 images cannot be decoded, first 'dog/d\.png'"):
        readable_examples(source, 0.0, tmp_path / "cache")


def test_images_are_turned_before_they_are_corrupted(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = np.zeros((24, 24, 3), np.uint8)
    image[:12] = 255
    (tmp_path / "a").mkdir()
    PIL.Image.fromarray(image).save(tmp_path / "a" / "a.jpg", quality=95, exif=exif)
    source = open_source(f"corrupted:24:folder:{tmp_path}")
    turned = oriented(source)
    brightness = 5 * CORRUPTIONS.index("brightness")
    before, after = (each.load(brightness)[0].numpy().astype(int) for each in (source, turned))
    assert turned.name == source.name and turned.count == source.count
    assert np.abs(np.rot90(before, -1) - after).max() <= 4 and np.abs(before - after).max() > 100


def test_sequences(photos, monkeypatch):
    made = []
    monkeypatch.setattr(perturbed, "sequence", lambda *arguments: made.append(arguments) or real(*arguments))
    from ns_jax.data.corruptions.sequences import sequence as real

    source = open_source(f"perturbed:16+4:{photos}")
    assert [part.name for part in source.parts] == list(PERTURBATIONS)
    assert [part.frames for part in source.parts] == [num_frames(name, 16) for name in PERTURBATIONS]
    translate = source.parts[PERTURBATIONS.index("translate")]
    assert translate.stop - translate.start == 3 * translate.frames
    second = np.arange(translate.start + translate.frames, translate.start + 2 * translate.frames)
    batch = next(eval_batches(source, second, View(16, 0), len(second)))
    assert len(made) == 1  # a sequence is made once, and not for each of its frames
    frames = batch["image"]
    np.testing.assert_array_equal(frames[1][:, 1:], frames[0][:, :-1])  # moved by one pixel
    assert source.ids(second[:2]).tolist() == [b"translate/cat/b.png/0", b"translate/cat/b.png/1"]
    assert source.original_index(second).tolist() == [1] * translate.frames
    assert (batch["label"] == 0).all()


def write_image(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(path)


def test_imagenet_c_folders(tmp_path):
    for corruption in ("gaussian_noise", "noise/shot_noise"):
        for severity in (1, 3):
            for name in ("n1/a.png", "n2/b.png", "n2/c.png"):
                write_image(tmp_path / corruption / str(severity) / name, 10 * severity)
    source = open_source(f"imagenet_c:{tmp_path}")
    assert source.count == 12 and source.class_names == ("n1", "n2")
    assert [(part.name, part.start, part.stop) for part in source.parts] == [
        ("gaussian_noise/1", 0, 3), ("gaussian_noise/3", 3, 6), ("shot_noise/1", 6, 9), ("shot_noise/3", 9, 12),
    ]  # fmt: skip
    assert source.ids(np.array([11])).tolist() == [b"shot_noise/3/n2/c.png"]
    image, label = source.load(11)
    assert image.numpy().max() == 30 and label.numpy() == 1


@pytest.mark.parametrize("form", ["frames", "videos"])
def test_imagenet_p_folders(tmp_path, form):
    if form == "videos":
        av = pytest.importorskip("av")
    for name, sequence in (("n1", "a"), ("n2", "b")):
        for perturbation in ("rotate", "translate"):
            frames = num_frames(perturbation, 224) if form == "videos" else 12
            folder = tmp_path / perturbation / name
            if form == "frames":
                for number in range(frames):
                    write_image(folder / sequence / f"img{number}.png", 20 * number)
                continue
            folder.mkdir(parents=True)
            with av.open(str(folder / f"{sequence}.mp4"), "w") as video:
                stream = video.add_stream("libx264", rate=1, options={"crf": "1"})
                stream.width = stream.height = 16
                stream.pix_fmt = "yuv420p"
                for number in range(frames):
                    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 5 * number, np.uint8), format="rgb24")
                    video.mux(stream.encode(frame))
                video.mux(stream.encode())
    source = open_source(f"imagenet_p:{tmp_path}")
    lengths = {part.name: part.frames for part in source.parts}
    assert lengths == ({"translate": 12, "rotate": 12} if form == "frames" else {"translate": 41, "rotate": 31})
    rotate = next(part for part in source.parts if part.name == "rotate")
    index = rotate.start + rotate.frames + 10  # frame 10, and not 'img10' after 'img1'
    image, label = source.load(np.int64(index))
    assert label.numpy() == 1 and source.ids(np.array([index])).tolist()[0].startswith(b"rotate/n2/b")
    assert abs(int(image.numpy().mean()) - (200 if form == "frames" else 50)) <= 2


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("corrupted:28", "write corrupted:SIZE:SOURCE"),
        ("corrupted:x:mnist5k:test", "write corrupted:SIZE:SOURCE"),
        ("corrupted:4:mnist5k:test", "SIZE is 4, and must be from 16"),
        ("perturbed:28:corrupted:28:mnist5k:test", "made of changed copies already"),
        ("imagenet_c:{}", "they lie in CORRUPTION/SEVERITY/CLASS"),
        ("imagenet_p:{}", "they lie in PERTURBATION/CLASS"),
        ("imagenet_p:{}/missing", "there is no such folder"),
    ],
)
def test_bad_names(tmp_path, string, words):
    with pytest.raises(UserError, match=words):
        open_source(string.format(tmp_path))


def test_sequences_of_different_lengths(tmp_path):
    for number in range(3):
        write_image(tmp_path / "tilt" / "n1" / "a" / f"{number}.png")
    write_image(tmp_path / "tilt" / "n1" / "b" / "0.png")
    with pytest.raises(UserError, match="b has 1 frames, and the first sequence of tilt 3"):
        open_source(f"imagenet_p:{tmp_path}")


def test_all_corruptions_are_listed():
    assert len(CORRUPTIONS) == 15 and len(PERTURBATIONS) == 10
