"""ns_jax.load and the Model that it returns."""

import hashlib
import inspect
import json
import os
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from flax.traverse_util import flatten_dict

import ns_jax
from ns_jax.artifact.metadata import network_of
from ns_jax.data.preprocess import clean_image
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.inference.model import Model, load, read
from ns_jax.interop import formats
from ns_jax.interop.adapt import adapt
from tests import command as command_line
from tests.conftest import REPO
from tests.data.sources.test_sources import write_image
from tests.interop.weights import random_artifact

SMALL = "efficientnet-small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of the small variant with seven classes."""
    path = epath.Path(tmp_path_factory.mktemp("model") / "model")
    formats.write(path, random_artifact(SMALL, 7), "artifact")
    return path


@pytest.fixture(scope="module")
def model(folder):
    return ns_jax.load(folder)


def some_images(count: int, size: int = 28):
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_what_it_says(model):
    assert (model.architecture.name, model.num_classes, model.resolution) == (SMALL, 7, 28)


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_any_batch_size(model, count):
    images = some_images(count)
    logits = model.logits(images)
    assert logits.shape == (count, 7) and logits.dtype == np.float32
    some = [i for i in range(count) if i < 3 or i == count - 1]  # the last one of 40 is of a second batch
    alone = [model.logits(images[i : i + 1])[0] for i in some]
    np.testing.assert_allclose(logits[some], np.array(alone).reshape(-1, 7), rtol=1e-4, atol=1e-5)


def test_float_and_uint8_are_on_one_scale(model):
    images = some_images(2)
    np.testing.assert_allclose(model.logits(images.astype(np.float32)), model.logits(images), rtol=1e-4, atol=1e-5)
    with pytest.warns(UserWarning, match=r"0\.\.255 scale, and these go from 0 to 1:"):
        model.logits(images / 255)
    with pytest.raises(UserError, match=r"\[N, height, width, 3\]"):
        model.logits(images[0])
    with pytest.raises(UserError, match="must all have the same shape"):
        model.logits([some_images(1, 28)[0], some_images(1, 30)[0]])


def test_one_warning_that_names_the_caller(model):
    for call in (model.logits, model.features):
        with pytest.warns(UserWarning) as warned:
            call(some_images(2) / 255)
        assert [warning.filename for warning in warned] == [__file__]


def test_dark_images_are_no_reason_to_warn(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(np.ones((1, 28, 28, 3), np.uint8))


def test_another_size_is_computed_with_a_warning(model):
    with pytest.warns(UserWarning, match="32 x 32 px for a model of 28 px"):
        assert model.logits(some_images(1, 32)).shape == (1, 7)


def test_features(model):
    assert model.features(some_images(2)).shape == (2, 256)
    assert model.features(some_images(2), "reduction_2").shape == (2, 7, 7, 24)
    with pytest.raises(UserError, match="reduction_1"):
        model.features(some_images(2), "reduction_9")


def test_predict_takes_files_and_arrays(model, tmp_path):
    write_image(tmp_path / "a.png", 3)
    array = some_images(1, 50)[0]
    first, second = model.predict([tmp_path / "a.png", array], top=3)
    assert [len(first), len(second)] == [3, 3]
    want = model.logits(np.asarray(clean_image(array, View(28, 0)))[None])[0]
    probs = np.exp(want) / np.exp(want).sum()
    assert [p.index for p in second] == np.argsort(-probs)[:3].tolist()
    assert [p.name for p in second] == [str(p.index) for p in second]
    np.testing.assert_allclose([p.probability for p in second], np.sort(probs)[::-1][:3], rtol=1e-4)
    every = model.predict(str(tmp_path / "a.png"), top=100)[0]
    assert len(every) == 7 and [p.index for p in every[:3]] == [p.index for p in first]
    with pytest.raises(UserError, match=r"missing\.png: no such file"):
        model.predict(tmp_path / "missing.png")
    with pytest.raises(UserError, match="top=-1"):
        model.predict(array, top=-1)


def test_predict_takes_any_iterable_in_batches(model):
    images = some_images(40, 50)
    answers = model.predict((image for image in images), top=2)
    assert len(answers) == 40 and answers == model.predict(list(images), top=2) == model.predict(images, top=2)
    assert answers[39][0].index == model.predict(images[39])[0][0].index
    assert model.predict(iter([])) == []


def test_errors_stand_where_the_images_are(model, tmp_path):
    image = some_images(1)[0]
    answers = list(model.predict_each([image, tmp_path / "missing.png", image], top=1))
    assert answers[0] == answers[2] and isinstance(answers[1], UserError)
    (with_others,), ((alone,),) = answers[0], model.predict(image, top=1)
    assert with_others.index == alone.index and np.isclose(with_others.probability, alone.probability, rtol=1e-5)


def test_another_number_of_classes(folder, model):
    other = ns_jax.load(folder, num_classes=3, class_names=["cat", "dog", "eel"])
    assert other.logits(some_images(1)).shape == (1, 3) and other.class_names[2] == "eel"
    np.testing.assert_array_equal(other.features(some_images(2)), model.features(some_images(2)))
    with pytest.raises(UserError, match="2 class names for 7 classes"):
        ns_jax.load(folder, class_names=["cat", "dog"])
    for wrong in ({"num_classes": 0}, {"num_classes": -1}, {"resolution": 0}):
        with pytest.raises(UserError, match="must be at least 1"):
            ns_jax.load(folder, **wrong)


def test_a_fresh_classifier_has_its_own_models_initialisation():
    fresh = adapt(random_artifact("resnet-50", 5), num_classes=3).variables["params"]["classifier"]
    assert 0.008 < fresh["kernel"].std() < 0.012


def test_imagenet_names():
    artifact = random_artifact("efficientnet-b0")
    best = Model(artifact).top_classes(np.eye(1000, dtype=np.float32)[[0, 999]] * 9, 1)
    assert [answers[0].name for answers in best] == [
        "tench, Tinca tinca",
        "toilet tissue, toilet paper, bathroom tissue",
    ]


def test_load_shows_its_arguments():
    shown, real = inspect.signature(ns_jax.load).parameters, inspect.signature(load).parameters
    assert list(shown) == list(real) and "class_names" in shown
    for name, parameter in real.items():
        assert (shown[name].default, shown[name].kind) == (parameter.default, parameter.kind), name


def test_importing_ns_jax_is_light_and_loading_imports_what_it_needs(folder):
    code = f"""
import sys, ns_jax
print([name for name in ("jax", "tensorflow", "orbax", "flax") if name in sys.modules])
ns_jax.load({str(folder)!r})
print([name for name in ("tensorflow", "orbax", "torch") if name in sys.modules])
"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=command_line.environment(), capture_output=True, text=True
    )
    assert process.stdout.splitlines() == ["[]", "[]"], process.stderr


def test_the_artifact_stays_as_it_is():
    artifact = random_artifact(SMALL, 3)
    first, second = Model(artifact), Model(artifact)
    np.testing.assert_array_equal(first.logits(some_images(2)), second.logits(some_images(2)))
    assert set(artifact.variables["params"]) == set(random_artifact(SMALL, 3).variables["params"])
    assert isinstance(artifact.variables["params"]["stem"]["kernel"], np.ndarray)


def test_a_fresh_head_is_that_of_a_fresh_network():
    artifact = random_artifact(SMALL, 5)
    before = flatten_dict(random_artifact(SMALL, 5).variables, sep="/")
    adapted = adapt(artifact, num_classes=3, seed=7)
    fresh = flatten_dict(jax.jit(lambda: network_of(adapted.metadata).init(7))(), sep="/")
    for key, value in flatten_dict(adapted.variables, sep="/").items():
        if key.startswith("params/classifier"):
            np.testing.assert_array_equal(value, fresh[key], err_msg=key)
        else:
            np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert adapted.metadata["class_names"] == ["0", "1", "2"] and len(artifact.metadata["class_names"]) == 5
    again = flatten_dict(artifact.variables, sep="/")
    assert again.keys() == before.keys() and again["params/classifier/bias"].shape == (5,)
    other = adapt(artifact, num_classes=3, seed=8).variables["params"]["classifier"]["kernel"]
    assert not np.array_equal(other, adapted.variables["params"]["classifier"]["kernel"])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"num_classes": 10**9}, "num_classes=1000000000 must be at most"),
        ({"resolution": 10**9}, "resolution must be a whole number of pixels"),
        ({"class_names": list("abcdefa")}, "'a' is there twice"),
        ({"num_classes": 2, "class_names": ["a", ""]}, "must not be empty"),
    ],
)
def test_changes_that_are_not_possible(folder, changes, words):
    with pytest.raises(UserError, match=words):
        ns_jax.load(folder, **changes)


def test_weights_that_are_no_numbers_are_refused(folder, model, tmp_path):
    artifact = random_artifact(SMALL, 7)
    artifact.variables["params"]["stem"]["kernel"][:] = np.nan
    flat = flatten_dict(artifact.variables, sep="/")
    data = safetensors.numpy.save(flat)  # the fingerprint is right
    (tmp_path / "weights.safetensors").write_bytes(data)
    metadata = artifact.metadata | {"fingerprint": hashlib.sha256(data).hexdigest()}
    (tmp_path / "model.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="stem/kernel has values that are not finite"):
        ns_jax.load(tmp_path)
    with pytest.raises(UserError, match="logits that are not numbers"):
        model.top_classes(np.array([[0.0, np.nan]], np.float32))


def test_a_pipe_is_not_waited_for(model, tmp_path):
    for name in ("x.npz", "x.png", "x.safetensors"):
        os.mkfifo(tmp_path / name)
    for name in ("x.npz", "x.safetensors"):
        with pytest.raises(UserError, match="is of no known format"):
            read(tmp_path / name)
    with pytest.raises(UserError, match=r"x\.png: not a file"):
        model.predict(tmp_path / "x.png")


def test_addresses_that_cannot_be_read():
    with pytest.raises(
        UserError, match="http://example.com/x.npz: http:// is not supported: name a folder, or a bucket"
    ):
        ns_jax.load("http://example.com/x.npz")
