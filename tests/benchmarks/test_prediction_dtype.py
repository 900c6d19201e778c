"""benchmarks.prediction_dtype on a model of random weights."""

import pytest
from etils import epath

from benchmarks import prediction_dtype
from ns_jax.interop import formats
from tests.benchmarks.test_runs import cells
from tests.interop.weights import random_artifact

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_both_dtypes_predict_and_differ_a_little(tmp_path):
    formats.write(epath.Path(tmp_path / "model"), random_artifact("efficientnet-small", 10), "artifact")
    title, _, table = prediction_dtype.measure(str(tmp_path / "model"), "mnist5k:labeled", 40).partition("\n\n")
    _, float32, bfloat16 = cells(table)
    assert title == "100 images of mnist5k:labeled"
    assert float32[0] == "float32" and float(float32[2]) == float(float32[4]) == 0
    assert bfloat16[0] == "bfloat16" and 0 < float(bfloat16[4]) < 0.1
    assert 0 <= float(bfloat16[1]) <= 100
