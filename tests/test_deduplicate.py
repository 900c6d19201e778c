"""The command, and runs that honour its file."""

import json
import shutil

import pytest
import tensorflow as tf
from etils import epath

from ns_jax import deduplicate
from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from tests import command
from tests.data.duplicates.photos import save_copy, write_photos

pytest.importorskip("imagehash")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four test images of two classes; ten unlabeled ones, four of them copies of those, and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    views = write_photos(folder / "unlabeled", 10)
    for number, path in enumerate(views[:4]):
        to = folder / "test" / ("cat", "dog")[number % 2] / f"test{number}.jpg"
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)
    tests = sorted((folder / "test").rglob("*.jpg"))  # of cat 0 and 2, of dog 1 and 3
    shutil.copy(tests[0], folder / "unlabeled" / "a_bytes.jpg")
    pixels = tf.io.decode_image(tests[1].read_bytes(), channels=3)
    (folder / "unlabeled" / "b_pixels.png").write_bytes(tf.io.encode_png(pixels).numpy())
    save_copy(tests[2], folder / "unlabeled" / "c_quality.jpg", quality=50)
    save_copy(tests[3], folder / "unlabeled" / "d_resized.jpg", size=(200, 150), quality=90)
    (folder / "unlabeled" / "e_broken.jpg").write_bytes(tests[0].read_bytes()[:-4000])
    return folder


def test_the_command(photos, tmp_path):
    out, unlabeled, test = tmp_path / "out.jsonl", f"folder:{photos}/unlabeled", f"folder:{photos}/test"
    process = command.run_module("deduplicate", f"--unlabeled={unlabeled}", f"--against={test}", f"--out={out}")
    assert process.returncode == 0, process.stderr
    assert f"{unlabeled}: 11 images, 1 could not be decoded and were not compared (e_broken.jpg)" in process.stdout
    assert f"{test}: 4 images, 0 could not be decoded\n" in process.stdout
    assert (
        "4 of 11 unlabeled images are duplicates: 1 with the same bytes, 1 with the same pixels, 2 near (distance up "
        "to 4)" in process.stdout
    )
    assert f"  bytes: a_bytes.jpg is cat/test0.jpg of {test}" in process.stdout
    assert f"--config.data.exclude={out}" in process.stdout
    header, *lines = map(json.loads, out.read_text().splitlines())
    assert header["method"].startswith("ImageHash ") and header["unlabeled"]["broken"] == 1
    assert [(line["id"], line["kind"], line.get("equals")) for line in lines] == [
        ("a_bytes.jpg", "bytes", "cat/test0.jpg"),
        ("b_pixels.png", "pixels", "cat/test2.jpg"),
        ("c_quality.jpg", "near", "dog/test1.jpg"),
        ("d_resized.jpg", "near", "dog/test3.jpg"),
        ("e_broken.jpg", "broken", None),
    ]


def test_equal_bytes_and_pixels_alone(photos, tmp_path, capsys):
    names, out = [f"folder:{photos}/{part}" for part in ("unlabeled", "test")], epath.Path(tmp_path / "out.jsonl")
    for _ in range(2):  # the second time in place of the first file
        deduplicate.check_out(out)
        deduplicate.deduplicate(names[0], names[1:], out, -1, "")
    assert "1 with the same bytes, 1 with the same pixels, 0 near (not looked for)" in capsys.readouterr().out


def test_bad_input(photos, tmp_path):
    names, out = [f"folder:{photos}/unlabeled", f"folder:{photos}/test"], epath.Path(tmp_path / "out.jsonl")
    flags = [f"--unlabeled={names[0]}", f"--against={names[1]}"]
    essay = tmp_path / "essay.txt"
    essay.write_text("an essay")
    for arguments, words in (
        ([*flags, f"--out={out}", "--distance=64"], ["--distance", "[-1, 31]"]),
        ([*flags, f"--out={essay}/out"], ["essay.txt", "Not a directory"]),
    ):
        command.assert_one_line_error(command.run_module("deduplicate", *arguments), *words)
    with pytest.raises(UserError, match="essay.txt exists and is no file of this command: choose another --out"):
        deduplicate.check_out(epath.Path(essay))
    with pytest.raises(UserError, match="folder:/nowhere: there is no such folder"):
        deduplicate.deduplicate(names[0], ["folder:/nowhere"], out, 4, "")
    assert essay.read_text() == "an essay" and not out.exists()


def test_sources_of_a_config():
    config = mnist5k.get_config()
    config.evaluations.more = {"type": "classification", "data": "folder:more", "classes": ()}
    assert deduplicate.choose_sources(config, None, None) == (
        "mnist5k:unlabeled",
        ["mnist5k:test", "folder:more", "mnist5k:labeled"],
    )
    assert deduplicate.choose_sources(config, "folder:x", ["folder:y"]) == ("folder:x", ["folder:y"])
    config.chain.iteration_2.data = {"unlabeled": "folder:x"}
    with pytest.raises(UserError, match="several sources of unlabeled images: choose with --unlabeled=mnist5k:unl"):
        deduplicate.choose_sources(config, None, None)


@pytest.mark.parametrize(
    "config, unlabeled, against, words",
    [
        (None, None, ["folder:y"], "--unlabeled=SOURCE"),
        (None, "folder:x", None, "--against=SOURCE"),
        ("control", None, None, "--unlabeled=SOURCE"),
        (None, "folder:x", ["folder:y", "folder:x"], "folder:x would be compared with itself"),
    ],
)
def test_sources_that_are_not_named(config, unlabeled, against, words):
    with pytest.raises(UserError, match=words):
        deduplicate.choose_sources(config and mnist5k.get_config(config), unlabeled, against)
