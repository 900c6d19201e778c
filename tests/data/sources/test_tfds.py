"""A small builder with configurations; the real Fashion-MNIST builder on Debian's package dataset-fashion-mnist."""

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from ns_jax.artifact.class_names import wordnet_ids
from ns_jax.data.corruptions.tables import CORRUPTIONS, SEVERITIES
from ns_jax.data.decode import decode_image
from ns_jax.data.import_fashion_mnist import DEBIAN_FOLDER, import_files
from ns_jax.data.sources.base import Part
from ns_jax.data.sources.registry import open_source
from ns_jax.data.sources.tfds import label_feature
from ns_jax.errors import UserError
from ns_jax.evaluators import several_labels
from ns_jax.evaluators.suites import TFDS_SETS
from tests.evaluators.test_measures import Answers

needs_files = pytest.mark.skipif(not os.path.isdir(DEBIAN_FOLDER), reason="apt-get install dataset-fashion-mnist")


class NsJaxShapes(tfds.core.GeneratorBasedBuilder):
    """Three images in its configuration 'few', five in 'many', its default."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="many"), tfds.core.BuilderConfig(name="few")]

    def _info(self):
        features = {"image": tfds.features.Image(shape=(4, 4, 3)), "label": tfds.features.ClassLabel(names=["a", "b"])}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(5 if self.builder_config.name == "many" else 3)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"image": np.full((4, 4, 3), number, np.uint8), "label": number % 2}


class NsJaxUnlabeled(tfds.core.GeneratorBasedBuilder):
    """Seven images in shards, without labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "name": tfds.features.Text()})
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(7):
            yield number, {"image": np.full((4 + number, 5, 3), number, np.uint8), "name": f"{number}"}


class NsJaxReal(tfds.core.GeneratorBasedBuilder):
    """Four images in the layout of imagenet2012_real."""

    VERSION = tfds.core.Version("1.0.0")
    RIGHT = (["b"], [], ["c", "a"], ["a"])

    def _info(self):
        label = tfds.features.ClassLabel(names=["a", "b", "c"])
        features = {
            "image": tfds.features.Image(), "original_label": label, "real_label": tfds.features.Sequence(label),
            "file_name": tfds.features.Text(),
        }  # fmt: skip
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"validation": self._generate_examples()}

    def _generate_examples(self):
        for number, right in enumerate(self.RIGHT):
            image = np.full((4, 4, 3), 10 * number, np.uint8)
            yield number, {"image": image, "original_label": number % 3, "real_label": right, "file_name": str(number)}


class NsJaxCorrupted(tfds.core.GeneratorBasedBuilder):
    """Two or three images in each of its configurations, named as those of imagenet2012_corrupted."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=f"{name}_{number}") for name in CORRUPTIONS for number in SEVERITIES
    ]

    def _info(self):
        features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["a", "b"])}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"validation": self._generate_examples(int(self.builder_config.name[-1]))}

    def _generate_examples(self, severity):
        for number in range(severity):
            yield number, {"image": np.full((4, 4, 3), 50 * severity + number, np.uint8), "label": number % 2}


class NsJaxTexts(tfds.core.GeneratorBasedBuilder):
    """Has no images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
        raise AssertionError("must not be prepared")

    def _generate_examples(self):
        raise AssertionError("must not be prepared")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize(
    "name, count",
    [
        ("tfds:ns_jax_shapes/train", 5),
        ("tfds:ns_jax_shapes/few/train", 3),
        ("tfds:ns_jax_shapes/many/train[1:3]", 2),
        ("tfds:ns_jax_shapes/few:1.2.0/train", 3),
    ],
)
def test_configurations_versions_and_splits(data_dir, name, count):
    source = open_source(name, data_dir)
    assert (source.name, source.count, source.class_names) == (name, count, ("a", "b"))
    image, label = source.load(tf.constant(1, tf.int64))
    assert image.shape == (4, 4, 3) and image.dtype == tf.uint8
    np.testing.assert_array_equal(decode_image(source.encoded(tf.constant(1, tf.int64))), image)
    assert int(image[0, 0, 0]) % 2 == int(label)
    assert source.ids(np.array([1]))[0] == f"{name.removeprefix('tfds:')}#1".encode()


def test_images_without_labels_and_many_at_a_time(data_dir):
    whole = open_source("tfds:ns_jax_unlabeled/train", data_dir, labels=False)
    part = open_source("tfds:ns_jax_unlabeled/train[2:6]", data_dir, labels=False)
    assert (whole.count, whole.class_names, part.count) == (7, (), 4)
    everything, labels = whole.read_many(tf.range(7, dtype=tf.int64))
    assert labels.numpy().tolist() == [-1] * 7 and len(set(everything.numpy().tolist())) == 7
    some, _ = part.read_many(tf.constant([3, 0], tf.int64))
    assert some.numpy().tolist() == [everything[5].numpy(), everything[2].numpy()]
    image, label = part.load(tf.constant(1, tf.int64))
    np.testing.assert_array_equal(image, decode_image(everything[3]))
    assert int(label) == -1


def test_several_right_labels(data_dir):
    source = open_source("tfds:ns_jax_real/validation", data_dir)
    shown = [int(source.load(tf.constant(index, tf.int64))[0][0, 0, 0]) // 10 for index in range(4)]
    assert sorted(shown) == [0, 1, 2, 3] and source.class_names == ("a", "b", "c")  # TFDS shuffles
    assert source.right_labels(np.arange(4)) == [tuple(NsJaxReal.RIGHT[number]) for number in shown]
    assert [int(source.load(tf.constant(index, tf.int64))[1]) for index in range(4)] == [number % 3 for number in shown]
    answers = {0: 1, 1: 0, 2: 0, 3: 2}  # of each image: right, not counted, right, wrong
    source = dataclasses.replace(source, labels=np.zeros(4, np.int32))  # for `Answers`
    predictor = Answers(np.eye(3)[[answers[number] for number in shown]], ["a", "b", "c"])
    result = several_labels.evaluate(predictor, source, np.arange(4), {"right_labels": ""})
    assert result == {"count": 3, "correct": 2, "top1": 2 / 3, "without_label": 1}
    with pytest.raises(UserError, match="has the label '.', which is none of the 0 classes"):
        several_labels.evaluate(Answers(np.zeros((4, 0)), []), source, np.arange(4), {"right_labels": ""})


def test_corruptions_that_have_been_prepared(data_dir):
    name = "imagenet_c:tfds:ns_jax_corrupted/validation"
    with pytest.raises(UserError, match="no configuration of ns_jax_corrupted has been prepared"):
        open_source(name, data_dir)
    for configuration in ("fog_3", "gaussian_noise_2"):
        open_source(f"tfds:ns_jax_corrupted/{configuration}/validation", data_dir)
    source = open_source(name, data_dir)
    assert source.parts == (Part("gaussian_noise/2", 0, 2), Part("fog/3", 2, 5))
    images, labels = source.read_many(tf.range(5, dtype=tf.int64))
    values = [int(decode_image(image)[0, 0, 0]) for image in images]
    assert sorted(values[:2]) == [100, 101] and sorted(values[2:]) == [150, 151, 152]
    assert labels.numpy().tolist() == [value % 50 % 2 for value in values]
    assert source.ids(np.array([1, 2])).tolist() == [b"gaussian_noise/2#1", b"fog/3#0"]


def test_the_sets_of_imagenet_that_tfds_has():
    """Their features, and the configurations of ImageNet-C, without their images, which are not here."""
    for options in TFDS_SETS.values():
        dataset, _ = options["data"].removeprefix("imagenet_c:").removeprefix("tfds:").rsplit("/", 1)
        if dataset == "imagenet2012_corrupted":
            configurations = {config.name for config in tfds.builder_cls(dataset).BUILDER_CONFIGS}
            assert {f"{name}_{number}" for name in CORRUPTIONS for number in SEVERITIES} <= configurations
            dataset += "/fog_3"
        features = tfds.builder(dataset).info.features
        assert features[label_feature(features)].names == wordnet_ids(), dataset
        assert ("right_labels" in options) == ("real_label" in features)


@pytest.mark.parametrize(
    "name, message",
    [
        ("tfds:ns_jax_shapes/few", "'few' is a configuration of ns_jax_shapes, not a split: .* tfds:.*/few/train"),
        ("tfds:ns_jax_shapes/few/test", "cannot read split 'test' .*there are train"),
        ("tfds:ns_jax_shapes/none/train", "has no configuration 'none'; there are many, few"),
        ("tfds:ns_jax_shapes:9.9.9/train", "cannot open 'ns_jax_shapes:9.9.9'"),
        ("tfds:ns_jax_texts/train", "needs the feature image; the data set has text"),
    ],
)
def test_what_a_data_set_does_not_have(data_dir, name, message):
    with pytest.raises(UserError, match=message) as error:
        open_source(name, data_dir)
    assert "\n" not in str(error.value)


@pytest.mark.slow  # 70,000 images are encoded
@needs_files
def test_fashion_mnist(tmp_path):
    import_files(DEBIAN_FOLDER, str(tmp_path))
    source = open_source("tfds:fashion_mnist/test", str(tmp_path))
    assert source.count == 10_000 and source.class_names[9] == "Ankle boot"
    ids = source.ids(np.arange(source.count))
    assert len(set(ids.tolist())) == source.count and ids[7] == b"fashion_mnist/test#7"

    raw = gzip.decompress(Path(DEBIAN_FOLDER, "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    raw = gzip.decompress(Path(DEBIAN_FOLDER, "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = {
        image.tobytes(): label for image, label in zip(pixels, np.frombuffer(raw, np.uint8, offset=8), strict=True)
    }
    for index in (0, 5, 9_999):
        image, label = source.load(tf.constant(index, tf.int64))
        assert image.shape == (28, 28, 3)
        assert labels[image.numpy()[..., 0].tobytes()] == int(label)

    with pytest.raises(UserError, match="there are .*train"):
        open_source("tfds:fashion_mnist/validation", str(tmp_path))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        import_files(str(tmp_path), str(tmp_path))


def test_configurations_that_there_are_are_listed():
    message = r"imagenet2012_subset has no configuration '20pct'; there are 1pct, 10pct$"
    with pytest.raises(UserError, match=message):
        open_source("tfds:imagenet2012_subset/20pct/train")
