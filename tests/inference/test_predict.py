"""python -m ns_jax.predict, as a user calls it."""

import csv
import json
import os

import pytest
import tensorflow as tf
from etils import epath

from ns_jax import predict
from ns_jax.data.preprocess import clean_image
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.interop import formats
from tests.command import assert_one_line_error, run_module
from tests.data.sources.test_sources import write_image
from tests.interop.weights import random_artifact

SMALL = "efficientnet-small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of the small variant with seven classes."""
    path = epath.Path(tmp_path_factory.mktemp("model") / "model")
    formats.write(path, random_artifact(SMALL, 7), "artifact")
    return path


def test_predict_answers_the_rest_of_a_folder(folder, tmp_path):
    images = tmp_path / "images"
    for i, name in enumerate(("a.jpg", "sub/b.png", "c.jpg")):
        write_image(images / name, i)
    (images / "c.jpg").write_bytes((images / "c.jpg").read_bytes()[:-40])
    (images / "notes.txt").write_text("not an image, and not asked for")
    (tmp_path / "text.jpg").write_text("not an image")
    process = run_module(
        "predict",
        f"--model={folder}",
        "--top=2",
        f"--json={tmp_path / 'out.json'}",
        f"--csv={tmp_path / 'out.csv'}",
        images,
        tmp_path / "text.jpg",
    )
    assert process.returncode == 1, process.stderr
    assert f"{images}: left out 1 that are not files ending in .jpg" in process.stderr
    assert "c.jpg: not a whole" in process.stderr and "text.jpg: not a whole" in process.stderr
    assert "2 of 4 images could not be read" in process.stderr and "notes.txt" not in process.stderr
    answers = json.loads((tmp_path / "out.json").read_text())
    assert [epath.Path(name).name for name in answers] == ["a.jpg", "b.png"]
    assert all(len(rows) == 2 and rows[0]["probability"] >= rows[1]["probability"] for rows in answers.values())
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 4 and [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert process.stdout.count("%") == 4


def test_predict_takes_names_of_any_bytes_once(folder, tmp_path):
    write_image(tmp_path / "a.png", 1)
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / odd).write_bytes((tmp_path / "a.png").read_bytes())
    process = run_module(
        "predict",
        f"--model={folder}",
        "--top=1",
        f"--json={tmp_path / 'out.json'}",
        f"--csv={tmp_path / 'out.csv'}",
        tmp_path / "a.png",
        tmp_path,
        tmp_path / "a.png",
    )
    assert process.returncode == 0, process.stderr
    assert "caf\\udce9.png" in process.stdout and process.stdout.count("a.png") == 1
    assert list(json.loads((tmp_path / "out.json").read_text())) == [str(tmp_path / "a.png"), str(tmp_path / odd)]
    assert (tmp_path / "out.csv").read_bytes().count(b"caf\xe9.png") == 1


def test_predict_finds_what_it_cannot_write_before_it_works(tmp_path):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "folder").mkdir()
    for output in (f"--json={tmp_path / 'folder'}", f"--csv={tmp_path / 'a.png' / 'out.csv'}"):
        process = run_module("predict", "--model=no/such/model", output, tmp_path / "a.png")
        assert process.returncode == 2 and "Traceback" not in process.stderr
        assert "a directory" in process.stderr and "no/such/model" not in process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "folder"}


def test_image_files_of_a_folder(tmp_path, monkeypatch, capsys):
    for name in ("in/b.png", "in/c.heic", "elsewhere/d.png", "elsewhere/notes.txt"):
        write_image(tmp_path / name, 1) if name.endswith("png") else (tmp_path / name).write_text("")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    found = predict.image_files([str(tmp_path / "in"), str(tmp_path / "in/b.png")])
    assert found == [str(tmp_path / "in/b.png"), str(tmp_path / "in/link/d.png")]
    assert f"{tmp_path / 'in'}: left out 2 that" in capsys.readouterr().err
    real = os.scandir

    def scandir(path):
        if str(path).endswith("link"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="link"):
        predict.image_files([str(tmp_path / "in")])


def test_what_is_wrong_with_a_file(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="not a file"):
        clean_image(tmp_path, View(28, 0))

    def no_permission(_):
        raise tf.errors.PermissionDeniedError(None, None, "Permission denied")

    monkeypatch.setattr(tf.io, "read_file", no_permission)
    with pytest.raises(UserError, match=r"a\.png: no permission"):
        clean_image(tmp_path / "a.png", View(28, 0))


def test_where_programs_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert predict.cache_folder() == str(tmp_path / ".cache" / "ns_jax" / "compilation_cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert predict.cache_folder() == "/xdg/ns_jax/compilation_cache"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/own")
    assert predict.cache_folder() == "/own"


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_bytes(epath.Path(tmp_path / "folder"), b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_file_is_left_out(tmp_path, capsys):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.png")
    assert predict.image_files([str(tmp_path)]) == [str(tmp_path / "a.png"), str(tmp_path / "gone.png")]
    assert f"{tmp_path}: left out 1 that" in capsys.readouterr().err


def outputs_of(folder) -> dict:
    """{output: words of the error} of results that would replace something."""
    (folder / "link.json").symlink_to(folder / "elsewhere.json")
    (folder / "tmp").mkdir()
    (folder / "tmp" / "out.json.tmp").symlink_to(folder / "a.png")
    os.link(folder / "a.png", folder / "hard.png")
    os.mkfifo(folder / "pipe")
    return {
        folder / "a.png": "would replace .*a.png, which is read",
        folder / ".." / folder.name / "a.png": "which is read",
        folder / "hard.png": "which is read",
        folder / "model" / "weights.safetensors": "which is read",
        folder / "link.json": "is a link",
        folder / "pipe": "is not a regular file",
        folder / "tmp" / "out.json": "which is read",
        "/dev/null": "is not a regular file",
    }


def test_results_replace_nothing_that_is_read(tmp_path):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"x")
    inputs = [str(tmp_path / "a.png"), *predict._files_of_model(str(tmp_path / "model"))]
    for output, words in outputs_of(tmp_path).items():
        with pytest.raises(UserError, match=words):
            predict.check_outputs([str(output)], inputs)
    new = str(tmp_path / "out.json")
    with pytest.raises(UserError, match="named twice"):
        predict.check_outputs([new, f"{tmp_path}/./out.json"], inputs)
    with pytest.raises(UserError, match="named twice"):
        predict.check_outputs([new, f"{new}.tmp"], inputs)
    (tmp_path / "old.json").write_text("{}")
    predict.check_outputs([str(tmp_path / "old.json"), new], inputs)  # older results may go
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == b"x"
    assert not (tmp_path / "out.json").exists() and (tmp_path / "a.png").stat().st_size > 50


def test_an_image_is_not_replaced(folder, tmp_path):
    write_image(tmp_path / "a.png", 1)
    before = (tmp_path / "a.png").read_bytes()
    for flag in ("--json", "--csv"):
        process = run_module("predict", f"--model={folder}", f"{flag}={tmp_path / 'a.png'}", tmp_path / "a.png")
        assert_one_line_error(process, "a.png would replace")
    assert (tmp_path / "a.png").read_bytes() == before
