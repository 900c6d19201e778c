"""Python objects as sources."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from ns_jax.data.ops.crops import center_window
from ns_jax.data.pipeline import eval_batches, readable_examples
from ns_jax.data.sources.objects import register
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from tests.data.sources.test_sources import write_image

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), np.uint8)


class Pairs:
    """As a data set of PyTorch."""

    def __init__(self, labels, images=IMAGES):
        self.labels, self.images = labels, images

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def test_arrays_with_numbers_as_labels():
    source = open_source(register("pairs", Pairs(np.array([3, 10, 3, 10, 9]))))
    assert (source.name, source.count, source.class_names) == ("object:pairs", 5, ("3", "9", "10"))
    assert source.labels.tolist() == [0, 2, 0, 2, 1] and source.ids(np.array([4])).tolist() == [b"pairs#4"]
    for window in (None, center_window(View(8, 2))):
        image, label = source.load(tf.constant(3, tf.int64), window)
        expected = IMAGES[3] if window is None else IMAGES[3, 2:10, 1:9]
        np.testing.assert_array_equal(image, expected)
        assert int(label) == 2
    (batch,) = eval_batches(source, np.arange(5), View(8, 0), 5)  # in a graph, on several threads
    assert batch["image"].shape == (5, 8, 8, 3) and batch["label"].tolist() == [0, 2, 0, 2, 1]


def test_given_class_names():
    assert open_source(register("a", Pairs([1, 0, 1]), ("no", "yes"))).class_names == ("no", "yes")
    assert open_source(register("a", Pairs(["yes", "no", "yes"]), ("no", "yes"))).labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="the label 'maybe' is none of the classes no, yes"):
        open_source(register("a", Pairs(["yes", "maybe"]), ("no", "yes")))
    with pytest.raises(UserError, match="the label 2 is none of the 2 classes"):
        open_source(register("a", Pairs([0, 2]), ("no", "yes")))


def test_images_of_pillow_and_grey_ones_without_labels(tmp_path):
    grey = IMAGES[0, ..., 0]
    for images in ([PIL.Image.fromarray(grey)], [grey], [grey[..., None]]):
        source = open_source(register("grey", images))
        image, label = source.load(tf.constant(0, tf.int64))
        np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, -1))
        assert source.class_names == () and int(label) == -1


def test_paths(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        write_image(path, 10 * number)
    source = open_source(register("paths", Pairs(["x", "y", "x"], paths)))
    assert source.ids(np.arange(3)).tolist() == [str(path).encode() for path in paths]
    assert int(source.load(tf.constant(2, tf.int64))[0][0, 0, 0]) == 20 and source.labels.tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="number 1 is no path"):
        open_source(register("paths", [paths[0], IMAGES[0]]))
    with pytest.raises(UserError, match="1 of 2 paths are no files, first .*none.png"):
        open_source(register("paths", [paths[0], tmp_path / "none.png"]))
    with pytest.raises(UserError, match="0.png twice"):
        open_source(register("paths", [paths[0], paths[0]]))


def test_items_that_are_no_images_count_as_broken(tmp_path):
    images = [*IMAGES, IMAGES[0].astype(np.float32), IMAGES[0, :0]]
    source = open_source(register("broken", images))
    assert readable_examples(source, 0.5, tmp_path).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "object:bad is empty"),
        ([(IMAGES[0], 1, 2)], "number 0: ValueError: 3 things instead of an image and its label"),
        ([(IMAGES[0], 1), (IMAGES[1], None)], "a label is a text or a whole number, and for every image; not None"),
        ([(IMAGES[0], 0.5)], "not 0.5"),
        (5, "int has no length and index"),
    ],
)
def test_objects_of_another_form(content, message):
    with pytest.raises(UserError, match=message):
        open_source(register("bad", content))


def test_objects_live_in_one_process():
    with pytest.raises(UserError, match="object:elsewhere is not in this process, and objects live in one: register"):
        open_source("object:elsewhere")
    with pytest.raises(UserError, match="a name has letters"):
        register("a:b", [])
