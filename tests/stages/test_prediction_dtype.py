"""In which dtype a model labels and is evaluated: field `prediction_dtype`."""

import jax.numpy as jnp
import pytest
from etils import epath

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import save_artifact
from ns_jax.configs import imagenet, mnist5k
from ns_jax.models.registry import get_architecture
from ns_jax.run import orchestrate
from ns_jax.stages import evaluate, label
from tests.interop.weights import random_artifact

STORED = random_artifact("efficientnet-small", 10).variables


def save(folder, dtype: str) -> None:
    metadata = model_metadata(get_architecture("efficientnet-small"), 10, dtype=dtype)
    save_artifact(epath.Path(folder), STORED, metadata)


@pytest.mark.parametrize(
    "prediction_dtype, labels, evaluates", [(None, "bfloat16", "float32"), ("float32",) * 3, ("bfloat16",) * 3]
)
def test_of_a_bfloat16_teacher_and_a_float32_student(tmp_path, monkeypatch, prediction_dtype, labels, evaluates):
    made = []
    monkeypatch.setattr(label, "label_shards", lambda *arguments: arguments[4]())
    monkeypatch.setattr(label, "check_labels", lambda *arguments: [])
    monkeypatch.setattr(label, "_complete", lambda *arguments: None)
    monkeypatch.setattr(label, "Predictor", lambda artifact, network, *rest: made.append(network))
    monkeypatch.setattr(evaluate, "Predictor", lambda artifact, network, *rest: made.append(network))
    save(tmp_path / "teacher", "bfloat16")
    save(tmp_path / "w" / "model", "float32")
    config = mnist5k.get_config("control")
    config.data.unlabeled, config.unlabeled_ratio, config.teacher = "mnist5k:test", 4, str(tmp_path / "teacher")
    config.dtype, config.prediction_dtype = "float32", prediction_dtype
    (iteration,) = orchestrate.make_plan(config, epath.Path(tmp_path / "w"))
    label.run(iteration)
    evaluate.make_predictor(iteration)
    assert [network.options.dtype for network in made] == [jnp.dtype(labels), jnp.dtype(evaluates)]


def test_imagenet_is_labeled_and_evaluated_in_float32():
    """As the official predict.sh and eval.sh; training is in bfloat16."""
    config = imagenet.student("b0", "teacher/model")
    assert (config.dtype, config.prediction_dtype) == ("bfloat16", "float32")
