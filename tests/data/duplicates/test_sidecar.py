import dataclasses
import json
import os

import numpy as np
import pytest
from etils import epath

from ns_jax.data.duplicates.matching import DUPLICATE
from ns_jax.data.duplicates.sidecar import read_exclusion, write_sidecar
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

IDS = np.array([b"a.png", b"b/b.png", b"\xff\xe9.png", b"d\n.png", "ü.png".encode()])


def source(name: str = "own:unlabeled", ids: np.ndarray = IDS) -> Source:
    return Source(name, len(ids), (), load=lambda index, window=None: None, ids=lambda indices: ids[indices])


@pytest.fixture
def path(tmp_path):
    """A sidecar of `source()`: three duplicates, one of each kind, and a broken image of each source."""
    path = epath.Path(tmp_path / "duplicates.jsonl")
    duplicates = np.array([(0, 0, 0, 1, 1), (2, 2, 3, 0, 0), (3, 1, 0, 1, 4)], DUPLICATE)
    against = [source("own:labeled"), source("own:test")]
    broken = [np.array([4]), np.array([], np.int64), np.array([2])]
    write_sidecar(path, source(), against, duplicates, broken, 4, "a hash")
    return path


def test_what_is_written(path):
    header, *lines = map(json.loads, path.read_text().splitlines())
    assert header["format_version"] == 1 and (header["distance"], header["method"]) == (4, "a hash")
    assert header["counts"] == {"bytes": 1, "pixels": 1, "near": 1}
    assert (header["unlabeled"]["source"], header["unlabeled"]["count"]) == ("own:unlabeled", 5)
    assert [(about["source"], about["broken"]) for about in header["against"]] == [("own:labeled", 0), ("own:test", 1)]
    assert lines == [
        {"id": "a.png", "kind": "bytes", "distance": 0, "source": "own:test", "equals": "b/b.png"},
        {"id": os.fsdecode(IDS[2]), "kind": "near", "distance": 3, "source": "own:labeled", "equals": "a.png"},
        {"id": "d\n.png", "kind": "pixels", "distance": 0, "source": "own:test", "equals": "ü.png"},
        {"kind": "broken", "source": "own:unlabeled", "id": "ü.png"},
        {"kind": "broken", "source": "own:test", "id": os.fsdecode(IDS[2])},
    ]


def test_it_is_read_back(path):
    exclusion = read_exclusion(path, source())
    assert exclusion.indices.dtype == np.int64 and exclusion.indices.tolist() == [0, 2, 3]
    assert (exclusion.against, exclusion.distance) == (("own:labeled", "own:test"), 4)
    before = exclusion.sha256
    path.write_text(path.read_text().replace('"distance": 3', '"distance": 2'))
    assert read_exclusion(path, source()).sha256 != before


def test_no_duplicates(tmp_path):
    path = epath.Path(tmp_path / "none.jsonl")
    write_sidecar(path, source(), [source("own:test")], np.zeros(0, DUPLICATE), [np.zeros(0, int)] * 2, -1, "")
    assert read_exclusion(path, source()).indices.tolist() == []


def test_of_other_images(path):
    with pytest.raises(UserError, match="is of the images of own:unlabeled, not of own:other: run python -m"):
        read_exclusion(path, source("own:other"))
    for ids in (IDS[:4], np.array([*IDS[:4], b"e.png"])):
        with pytest.raises(UserError, match=f"is of 5 images that own:unlabeled held, and now it holds {len(ids)}"):
            read_exclusion(path, source(ids=ids))


def test_missing_or_of_another_kind(path):
    with pytest.raises(UserError, match="nothing.jsonl is not a file: write it with python -m ns_jax.deduplicate"):
        read_exclusion(path.with_name("nothing.jsonl"), source())
    with pytest.raises(UserError, match="is not a file"):
        read_exclusion(path.parent, source())
    for text in ("", "\n", "an essay", "[1]\n", '{"seed": 0}\n', '{"format_version": 1}', "\xff\xfe"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match="is no file of python -m ns_jax.deduplicate, or its first line is damaged"):
            read_exclusion(path, source())


def test_another_version(path):
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2', 1))
    with pytest.raises(UserError, match="has format_version 2, and this version of ns_jax reads 1"):
        read_exclusion(path, source())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1].rpartition("\n")[0] + "\n",  # without its last line
        lambda text: text[:-20],
        lambda text: text.replace('"kind": "near"', '"kind": "mirrored"'),
        lambda text: text.replace('"kind": "near"', '"kind": "bytes"'),
        lambda text: text.replace('"id": "a.png", ', ""),
        lambda text: text.replace('"id": "a.png"', '"id": 7'),
        lambda text: text.replace('"id": "a.png"', '"id": "another.png"'),
        lambda text: text.replace('"id": "a.png"', '"id": "\\ud800.png"'),
        lambda text: text.replace('"id": "a.png"', '"id": "d\\n.png"'),
        lambda text: text.replace('"near": 1', '"near": null'),
        lambda text: text.replace('"counts"', '"kounts"'),
        lambda text: text.replace('"broken": 1', '"broken": 0', 1),
        lambda text: text.replace('"distance": 4', '"distance": "far"'),
        lambda text: text.replace('"unlabeled": {', '"unlabeled": "x", "was": {'),
        lambda text: text + "more\n",
        lambda text: text + "[]\n",
    ],
)
def test_damage(path, damage):
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    with pytest.raises(UserError, match="is damaged") as caught:
        read_exclusion(path, source())
    assert "\n" not in str(caught.value)


def test_a_source_that_has_more_classes_is_the_same_images(path):
    """The images count, not what is known about them."""
    assert len(read_exclusion(path, dataclasses.replace(source(), class_names=("a", "b"))).indices) == 3
