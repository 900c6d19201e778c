"""python -m ns_jax.convert, as a user calls it."""

import pytest
from etils import epath

import ns_jax
from ns_jax.interop import formats
from tests.command import assert_one_line_error, run_module
from tests.interop.weights import random_artifact

SMALL = "efficientnet-small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of the small variant with seven classes."""
    path = epath.Path(tmp_path_factory.mktemp("model") / "model")
    formats.write(path, random_artifact(SMALL, 7), "artifact")
    return path


def test_convert_touches_nothing_of_others(folder, tmp_path):
    (tmp_path / "unchecked-mine.npz").mkdir()
    (tmp_path / "unchecked-mine.npz" / "notes.txt").write_text("precious")
    process = run_module("convert", f"--from={folder}", f"--to={tmp_path / 'mine.npz'}")
    assert process.returncode == 2 and "unchecked-mine.npz exists" in process.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["unchecked-mine.npz", "notes.txt"]


def test_convert_says_what_is_wrong_in_a_line(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for source, target, names, words in (
        ("no/such/model", "x.pth", "", "is not written, only artifact"),  # found before the model is looked for
        (folder, "notes.txt/z.npz", "", "Not a directory"),
        (folder, "x", "missing.txt", "missing.txt"),
        (folder, "x", "latin.txt", "latin.txt is not a text file in UTF-8"),
    ):
        process = run_module(
            "convert",
            f"--from={source}",
            f"--to={tmp_path / target}",
            *([f"--class_names={tmp_path / names}"] if names else []),
        )
        assert_one_line_error(process, words)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "latin.txt"}


def test_convert(folder, tmp_path):
    process = run_module("convert", f"--from={folder}", f"--to={tmp_path / 'out.safetensors'}")
    assert process.returncode == 0 and "same bits" in process.stdout, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"out.safetensors"}
    again = run_module("convert", f"--from={folder}", f"--to={tmp_path / 'out.safetensors'}")
    assert again.returncode == 2 and "nothing is overwritten" in again.stderr
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcdefg"))
    process = run_module(
        "convert", f"--from={tmp_path / 'out.safetensors'}", f"--to={tmp_path / 'model'}", f"--class_names={names}"
    )
    assert process.returncode == 0, process.stderr
    assert ns_jax.load(tmp_path / "model").class_names == list("abcdefg") and "not in" not in process.stdout
    process = run_module(
        "convert", f"--from={tmp_path / 'model'}", f"--to={tmp_path / 'tf'}", "--format=tf", "--resolution=32"
    )
    assert process.returncode == 0 and f"not in {tmp_path / 'tf'}: class_names, resolution (" in process.stdout
    unknown = run_module("convert", f"--from={names}", f"--to={tmp_path / 'x'}")
    assert unknown.returncode == 2 and "is of no known format" in unknown.stderr and "Traceback" not in unknown.stderr
