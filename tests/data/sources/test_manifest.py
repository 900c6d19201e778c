"""Tables of images, CSV and Parquet."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf

from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from tests.data.sources.test_sources import write_image


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate("abcdef"):
        write_image(tmp_path / "images" / f"{name}.png", number)
    return tmp_path


def write(folder, text: str, encoding="utf-8") -> str:
    (folder / "list.csv").write_bytes(text.encode(encoding))
    return f"manifest:{folder}/list.csv"


def test_labels_in_the_order_of_the_file(images):
    absolute = images / "images" / "c.png"
    text = f"label,path,note\ndog,images/b.png,x\ncat,images/a.png,\ndog,{absolute},\n"
    source = open_source(write(images, text))
    assert source.ids(np.arange(3)).tolist() == [b"images/b.png", b"images/a.png", str(absolute).encode()]
    assert source.class_names == ("cat", "dog") and source.labels.tolist() == [1, 0, 1]
    assert (source.groups, source.weights, source.notes, source.may_be_broken) == (None, None, (), True)
    image, label = source.load(tf.constant(2, tf.int64))
    assert (int(image[0, 0, 0]), int(label)) == (2, 1)


@pytest.mark.parametrize("text", ("path\nimages/a.png\nimages/b.png\n", "path,label\nimages/a.png,\nimages/b.png,\n"))
def test_without_labels(images, text):
    source = open_source(write(images, text))
    assert (source.count, source.class_names, source.labels.tolist()) == (2, (), [-1, -1])


def test_splits_have_the_same_classes(images):
    rows = ("a.png,x,train,p1", "b.png,y,train,p1", "c.png,x,test,p2", "d.png,,unlabeled,", "e.png,z,,")
    name = write(images, "path,label,split,group\n" + "".join(f"images/{row}\n" for row in rows))
    train, test, unlabeled = (open_source(f"{name}:{split}") for split in ("train", "test", "unlabeled"))
    assert train.class_names == test.class_names == ("x", "y", "z") and unlabeled.class_names == ()
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [0])
    assert train.groups == ("p1", "p1") and unlabeled.groups == ("images/d.png",)
    assert train.notes == ("rows left out that have no split: 1",)
    with pytest.raises(UserError, match="has the splits test, train, unlabeled: name one, as manifest:.*list.csv:test"):
        open_source(name)
    with pytest.raises(UserError, match="no split 'val': there are test, train, unlabeled"):
        open_source(f"{name}:val")


def test_numbers_as_labels_are_in_their_order(images):
    rows = "".join(f"images/{name}.png,{label}\n" for name, label in zip("abc", (10, 9, 100), strict=True))
    assert open_source(write(images, f"path,label\n{rows}")).class_names == ("9", "10", "100")


def test_weights_and_spreadsheets(images):
    """Semicolons, a byte-order mark, carriage returns, and quotes, as a spreadsheet writes them."""
    text = '\ufeffpath;label;weight\r\n"images/a.png";x;0.5\r\n\r\nimages/b.png;"y;z";\r\n'
    source = open_source(write(images, text))
    assert source.class_names == ("x", "y;z") and source.weights.tolist() == [0.5, 1.0]
    assert source.weights.dtype == np.float32


def test_parquet(images):
    columns = {
        "path": ["images/a.png", "images/b.png", "images/c.png"],
        "label": pyarrow.array([1.0, 0.0, 10.0]),  # as pandas writes whole numbers beside a missing one
        "split": pyarrow.array(["train", "train", "test"]).dictionary_encode(),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), images / "list.parquet")
    source = open_source(f"manifest:{images}/list.parquet:train")
    assert (source.count, source.class_names, source.labels.tolist()) == (2, ("0", "1", "10"), [1, 0])
    (images / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="list.parquet is no whole Parquet file"):
        open_source(f"manifest:{images}/list.parquet")


def test_repeated_rows_count_once(images):
    source = open_source(write(images, "path,label\nimages/a.png,x\n./images/a.png,x\nimages/b.png,y\n"))
    assert source.count == 2 and source.notes == ("rows left out that repeat others: 1",)


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,label\nimages/a.png,x\n", "list.csv has no column 'path': it has file, label"),
        ("", "list.csv has no column 'path': it has none"),
        ("path,label\n", "list.csv is empty"),
        ("path,label\nimages/a.png,x\nimages/z.png,y\nimages/y.png,y\n", r"2 of 3 paths are no files, first .*z\.png"),
        ("path,label\nimages/a.png,x\nimages/a.png,y\n", "'images/a.png' has two labels, 'x' and 'y'"),
        ("path,split\nimages/a.png,train\nimages/a.png,test\n", "'images/a.png' has two splits, 'train' and 'test'"),
        ("path,label\nimages/a.png,x\nimages/b.png,\n", "1 of 2 rows have no label: .* 'split'"),
        ("path,label\n,x\n", "row 1 has no path"),
        ("path,label\nimages/a.png,x,y\n", "line 2: 3 cells for 2 columns"),
        ('path,label\nimages/a.png,"x\n', "line 2: unexpected end of data"),
        ("path,weight\nimages/a.png,heavy\n", "the weight of 'images/a.png' is 'heavy'"),
        ("path,weight\nimages/a.png,-1\n", "must be a number of at least 0"),
    ],
)
def test_tables_that_cannot_be_used(images, text, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(write(images, text))
    assert "\n" not in str(caught.value)


def test_not_utf_8_and_not_there(images):
    with pytest.raises(UserError, match=r"not UTF-8 \(line 2\)"):
        open_source(write(images, "path,label\nimages/ä.png,x\n", "latin-1"))
    with pytest.raises(UserError, match="nowhere.csv: there is no such file"):
        open_source("manifest:nowhere.csv:train")
    with pytest.raises(UserError, match="no split 'train': it has no column 'split'"):
        open_source(write(images, "path\nimages/a.png\n") + ":train")
