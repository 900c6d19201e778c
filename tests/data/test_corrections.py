"""Corrected labels, laid over the images of a run."""

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data.corrections import corrected, read_corrections
from ns_jax.data.ops.crops import center_window
from ns_jax.data.pipeline import eval_batches, readable_examples
from ns_jax.data.sources.registry import OpenSources, open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from tests.data.sources.test_sources import write_image


@pytest.fixture
def folders(tmp_path):
    """Two images of cats (0, 1) and dogs (2, 3), and three without labels (10, 11, 12), of another size."""
    for value, path in enumerate(("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png")):
        write_image(tmp_path / "labeled" / path, value)
    for value, path in enumerate(("x.png", "y.png", "z.png"), 10):
        write_image(tmp_path / "unlabeled" / path, value, (40, 24))
    return tmp_path


def lay_over(folder, text: str):
    (folder / "corrections.csv").write_text(text)
    unlabeled = open_source(f"folder:{folder}/unlabeled", labels=False)
    return corrected(open_source(f"folder:{folder}/labeled"), unlabeled, read_corrections(f"{folder}/corrections.csv"))


def content(source) -> dict[str, tuple[int, int]]:
    """{id: (value of the pixels, label)}"""
    ids = source.ids(np.arange(source.count)).tolist()
    examples = [source.load(tf.constant(index, tf.int64)) for index in range(source.count)]
    return {name.decode(): (int(image[0, 0, 0]), int(label)) for name, (image, label) in zip(ids, examples)}


def test_labels_change_images_join_and_leave(folders, tmp_path):
    text = "path,label,comment\ncat/a.png,dog,\ncat/b.png,cat,\ndog/b.png,?,\nx.png,,\nz.png,cat,sure\n"
    source = lay_over(folders, text)
    assert content(source) == {"cat/a.png": (0, 1), "cat/b.png": (1, 0), "dog/a.png": (2, 1), "z.png": (12, 0)}
    assert source.notes == ("5 corrections: 1 labels changed, 1 images joined, 2 removed, 1 as before",)
    assert source.labels.tolist() == [1, 0, 1, 0] and source.class_names == ("cat", "dog")
    assert readable_examples(source, 0.0, tmp_path / "cache").tolist() == [0, 1, 2, 3]
    (batch,) = eval_batches(source, np.arange(4), View(16, 4), 4)  # in a graph, with windows of both sizes
    assert batch["label"].tolist() == [1, 0, 1, 0] and batch["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 12]
    image, _ = source.load(tf.constant(3, tf.int64), center_window(View(16, 0)))
    assert image.shape == (24, 24, 3)


def test_without_unlabeled_images(folders):
    (folders / "c.csv").write_text("path;label\ncat/a.png;dog\n")
    source = corrected(open_source(f"folder:{folders}/labeled"), None, read_corrections(f"{folders}/c.csv"))
    assert source.labels.tolist() == [1, 0, 1, 1] and source.count == 4
    assert source.notes == ("1 corrections: 1 labels changed, 0 images joined, 0 removed",)


def test_groups_and_weights_go_along(folders):
    rows = "path,label,group,weight\nlabeled/cat/a.png,cat,p1,2\nlabeled/dog/a.png,dog,p1,0.5\n"
    (folders / "list.csv").write_text(rows)
    (folders / "c.csv").write_text("path,label\nx.png,dog\nlabeled/cat/a.png,?\n")
    unlabeled = open_source(f"folder:{folders}/unlabeled")
    source = corrected(open_source(f"manifest:{folders}/list.csv"), unlabeled, read_corrections(f"{folders}/c.csv"))
    assert source.groups == ("p1", "x.png") and source.weights.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "path,label\nq.png,cat\ncat/a.png,dog\nr.png,cat\n",
            r"2 of 3 images are not in folder:.* or .*, first 'q.png'",
        ),
        ("path,label\ncat/a.png,dgo\n", "no class 'dgo', did you mean 'dog'"),
        ("path,label\n", "is empty"),
        ("path\nx.png\n", "no column 'label'"),
        ("path,label\nx.png,cat\nx.png,dog\n", "'x.png' has two labels, 'cat' and 'dog'"),
    ],
)
def test_tables_that_cannot_be_used(folders, text, message):
    with pytest.raises(UserError, match=message) as caught:
        lay_over(folders, text)
    assert "\n" not in str(caught.value)


def test_a_name_that_two_images_have(folders):
    write_image(folders / "unlabeled" / "cat" / "a.png", 1)
    with pytest.raises(UserError, match="'cat/a.png' may be an image of both"):
        lay_over(folders, "path,label\ncat/a.png,dog\n")


def test_a_run_reads_them_once(folders):
    (folders / "c.csv").write_text("path,label\nx.png,dog\n")
    run, names = OpenSources(), (f"folder:{folders}/labeled", f"folder:{folders}/unlabeled", f"{folders}/c.csv")
    source = run.open_corrected(*names)
    (folders / "c.csv").unlink()
    assert run.open_corrected(*names) is source and source.count == 5
