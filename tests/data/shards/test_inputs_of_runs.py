"""What a run says of shards, and keeps of them."""

import json

import pytest
from etils import epath

from ns_jax.data.sources import base
from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import UserError
from ns_jax.run.inputs import Inputs
from ns_jax.run.paths import IterationPaths
from tests.data.shards import write
from tests.data.shards.test_sources import IMAGES, write_shards


@pytest.fixture
def inputs(tmp_path):
    """Of a run whose unlabeled and labeled images are shards."""
    root = epath.Path(tmp_path / "run")
    (tmp_path / "shards").mkdir()
    name = write_shards(tmp_path / "shards", "tfrecord")
    paths = IterationPaths(root, root)
    return lambda: Inputs(paths, {"unlabeled": name, "labeled": name}, OpenSources("", str(paths.data_cache)))


def test_labels_without_class_names(inputs):
    with pytest.raises(UserError, match="has no classes, and labels are needed here: its labels .* add classes=FILE"):
        inputs().open_labeled("labeled")


def test_a_run_needs_no_ids_to_see_that_shards_have_changed(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "digest_of_ids", None)
    first = inputs()
    source = first.open("unlabeled")
    record = json.loads(first.paths.data_record("unlabeled").read_text())
    assert (record["count"], record["ids"]) == (12, source.identity)
    assert first.readable(source).tolist() == list(range(12))
    inputs().open("unlabeled")
    write.tfrecord(
        tmp_path / "shards" / "train-00002-of-00004", [write.example(image__encoded=IMAGES[9], image__class__label=1)]
    )
    with pytest.raises(UserError, match=r"has changed since this run began \(12 images .*, 9 in 0 now"):
        inputs().open("unlabeled")
