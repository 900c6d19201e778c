"""The contestants of benchmarks.model_speed, and the zoo, on a tiny model."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

from benchmarks import model_speed, zoo
from benchmarks.contestants import ns_jax_model, plain_model
from benchmarks.contestants.task import Task
from ns_jax.models import layers
from ns_jax.models.registry import get_architecture

pytestmark = pytest.mark.usefixtures("quick_compilation")
MODES = ("inference", "training")


def tiny():
    """The demo's model with one block."""
    small = get_architecture("efficientnet-small")
    return dataclasses.replace(small, groups=small.groups[:1])


def make_task(mode: str) -> Task:
    return model_speed.make_task(mode, "tests.benchmarks.test_models:tiny", batch_size=8, threads=1)


def test_a_task_travels_as_text():
    task = model_speed.make_task("training", "efficientnet-b0", 16, 2)
    assert task.resolution == 224 and task.num_classes == 1000
    assert task.blocks[1] == "ir_r2_k3_s2_e6_c24_se0.25"
    assert Task.from_text(task.to_text()) == task
    assert model_speed.make_task("training", "resnet-50", 16, 2).blocks == ()


def test_our_own_model(monkeypatch):
    probabilities = ns_jax_model.make_work(make_task("inference"))()
    assert probabilities.shape == (8, 10) and np.ptp(probabilities) > 0
    train = ns_jax_model.make_work(make_task("training"))
    losses = [float(train()["loss"]) for _ in range(2)]
    assert np.isfinite(losses).all() and losses[0] != losses[1]

    for name in ("depthwise_conv", "pointwise_conv"):  # is put back after the test
        monkeypatch.setattr(layers, name, getattr(layers, name))
    plain_model.use_native_convolutions()
    plain = ns_jax_model.make_work(make_task("inference"))()
    assert plain.tobytes() != probabilities.tobytes()
    np.testing.assert_allclose(plain, probabilities, rtol=1e-4)


def test_model_speed_starts_contestants(monkeypatch):
    asked = {}

    def contest(commands, rounds, threads, turn_seconds):
        asked.update(commands)
        return {name: [1.0, 1.0] for name in commands}

    monkeypatch.setattr(model_speed, "contest", contest)
    names = ["ns_jax:folded", "timm"]
    table = model_speed.measure(names, "training", "efficientnet-b0", 16, 2, 1, {"timm": "/other/python"})
    assert "| timm " in table and "16.0 to 16.0" in table
    assert asked["timm"][:3] == ["/other/python", "-m", "benchmarks.contestants.timm_model"]
    assert asked["ns_jax:folded"][2] == "benchmarks.contestants.ns_jax_model"
    task = Task.from_text(asked["ns_jax:folded"][3])
    assert (task.mode, task.form) == ("training", "folded") and "jax " in model_speed.machine()


@pytest.mark.parametrize("mode", MODES)
def test_timm(mode):
    pytest.importorskip("timm")
    from benchmarks.contestants import timm_model

    result = timm_model.make_work(make_task(mode))()
    assert np.isfinite(result).all() and np.shape(result) == ((8, 10) if mode == "inference" else ())
    named = dataclasses.replace(make_task(mode), variant="efficientnet-b0")
    assert timm_model.build(named).conv_head.out_channels == 1280


def test_forms_of_our_own_model():
    probabilities = ns_jax_model.make_work(make_task("inference"))()
    folded = ns_jax_model.make_work(dataclasses.replace(make_task("inference"), form="folded"))()
    assert folded.tobytes() != probabilities.tobytes()
    np.testing.assert_allclose(folded, probabilities, rtol=1e-4)


def test_runtimes_of_onnx_programs():
    pytest.importorskip("onnxruntime")
    from benchmarks.contestants import onnx_work

    probabilities = onnx_work.make_work(make_task("inference"), "onnxruntime")()
    assert probabilities.shape == (8, 10) and np.ptp(probabilities) > 0
    with pytest.raises(ValueError, match="does not train"):
        onnx_work.make_work(make_task("training"), "onnxruntime")


def test_keras_predicts():
    pytest.importorskip("keras")
    from benchmarks.contestants import keras_model

    task = dataclasses.replace(make_task("inference"), variant="efficientnet-b0", resolution=32)
    assert keras_model.make_work(task)().shape == (8, 10)


def test_keras_trains(monkeypatch):
    keras = pytest.importorskip("keras")
    from benchmarks.contestants import keras_model

    def stand_in(weights, input_shape, classes, classifier_activation):
        """Two layers: tracing the training step of EfficientNet-B0 takes 40 s."""
        assert weights is None
        pool, dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes, classifier_activation)
        return keras.Sequential([keras.layers.Input(input_shape), pool, dense])

    monkeypatch.setattr(keras.applications, "EfficientNetB0", stand_in)
    train = keras_model.make_work(dataclasses.replace(make_task("training"), variant="efficientnet-b0"))
    losses = [float(train()) for _ in range(2)]
    assert np.isfinite(losses).all() and losses[0] != losses[1]


def test_zoo(tmp_path):
    parameters, size = zoo.write_random_model("efficientnet-small", epath.Path(tmp_path))
    assert size == 28
    measured = json.loads(json.dumps(zoo.measure(str(tmp_path))))
    assert measured["peak"] > 1e8 and all(measured[name] > 0 for name in ("load", "first", "next"))
    row = zoo.table_row("efficientnet-small", parameters, size, measured)
    assert len(row) == len(zoo.HEADER) and row[:3] == ["efficientnet-small", "0.32 M", "28"]
