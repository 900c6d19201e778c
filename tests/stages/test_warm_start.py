"""Training that starts from a model that is there."""

import numpy as np
import pytest
from etils import epath
from flax.traverse_util import flatten_dict

from ns_jax.interop import formats
from tests import command
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY

SUPERVISED = "configs/mnist5k.py:control"
SIZES = {"labeled_batch_size": 48, "eval_batch_size": 480}
ONE_STILL_STEP = {"train_epochs": 0.5, "base_learning_rate": 1e-12, "weight_decay": 0.0, "stages": ("train",)} | SIZES


@pytest.mark.usefixtures("quick_compilation")
def test_starts_from_weights_of_another_library(tmp_path, capsys):
    start = random_artifact(TINY, 7)
    file = tmp_path / "start.safetensors"
    formats.write(epath.Path(file), start, "timm")
    command.run_here(tmp_path / "w", config=SUPERVISED, variant=TINY, init_from=str(file), **ONE_STILL_STEP)
    assert "start.safetensors, with a new classifier for other classes" in capsys.readouterr().out
    before = flatten_dict(start.variables["params"], sep="/")
    after = flatten_dict(formats.read(tmp_path / "w" / "model", TINY).variables["params"], sep="/")
    for key, value in after.items():
        if key.startswith("classifier"):
            assert value.shape[-1] == 10
        else:
            np.testing.assert_allclose(value, before[key], atol=1e-6, err_msg=key)


def test_of_another_variant(tmp_path):
    formats.write(epath.Path(tmp_path / "small"), random_artifact("efficientnet-small", 10), "artifact")
    fields = {"config": SUPERVISED, "variant": TINY} | SIZES
    words = f"is efficientnet-small, not {TINY}"
    command.assert_refused(tmp_path / "w", words, init_from=str(tmp_path / "small"), **fields)
    command.assert_refused(tmp_path / "v", "there is no teacher", init_from="teacher", **fields)
