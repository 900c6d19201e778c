"""Training that starts from a model that is there."""

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from ns_jax.interop import formats
from tests import command
from tests.interop.weights import random_artifact

ONE_STILL_STEP = ("--config.train_epochs=1", "--config.base_learning_rate=1e-12", "--config.weight_decay=0")
SUPERVISED = "configs/mnist5k.py:control"


def test_starts_from_weights_of_another_library(tmp_path):
    start = random_artifact("efficientnet-small", 7)
    formats.write(epath.Path(tmp_path / "start.safetensors"), start, "timm")
    process = command.run(
        tmp_path / "w",
        *ONE_STILL_STEP,
        f"--config.init_from={tmp_path / 'start.safetensors'}",
        config=SUPERVISED,
        env=command.quick_environment(),
    )
    assert process.returncode == 0, process.stderr
    assert "start.safetensors, with a new classifier for other classes" in process.stdout
    before = flatten_dict(start.variables["params"], sep="/")
    after = flatten_dict(formats.read(tmp_path / "w" / "model").variables["params"], sep="/")
    for key, value in after.items():
        if key.startswith("classifier"):
            assert value.shape[-1] == 10
        else:
            np.testing.assert_allclose(value, before[key], atol=1e-6, err_msg=key)


def test_of_another_variant(tmp_path):
    formats.write(epath.Path(tmp_path / "b0"), random_artifact("efficientnet-b0", 10), "artifact")
    sizes = {"labeled_batch_size": 48, "eval_batch_size": 480}
    words = "is efficientnet-b0, not efficientnet-small"
    command.assert_refused(tmp_path / "w", words, config=SUPERVISED, init_from=str(tmp_path / "b0"), **sizes)
    command.assert_refused(tmp_path / "v", "there is no teacher", config=SUPERVISED, init_from="teacher", **sizes)
