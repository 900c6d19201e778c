"""What bfloat16 changes in a trained model's predictions: accuracy, top class and confidence beside float32.

  python -m benchmarks.prediction_dtype --model=WORKDIR --data=mnist5k:test
  python -m benchmarks.prediction_dtype --model=WORKDIR --data=mnist5k:unlabeled

The official scripts label and evaluate in float32 (use_bfloat16=False in predict.sh and eval.sh).
"""

import jax.numpy as jnp
import numpy as np
from absl import app, flags

from ns_jax.artifact.metadata import network_of
from ns_jax.data.sources.registry import open_source
from ns_jax.inference.model import read
from ns_jax.inference.predictor import Predictor
from ns_jax.models.base import BuildOptions
from ns_jax.parallel.mesh import make_mesh
from ns_jax.report.results import markdown_table
from ns_jax.run.settings import test_view

FLAGS = flags.FLAGS
DTYPES = ("float32", "bfloat16")


def probabilities(artifact, source, dtype: str, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 [N, classes] and labels int32 [N] of all examples, computed in `dtype`."""
    network = network_of(artifact.metadata, BuildOptions(dtype=jnp.dtype(dtype)))
    view = test_view(network.inputs, artifact.metadata["resolution"])
    predictor = Predictor(artifact, network, view, make_mesh(), batch_size)
    batches = list(predictor.every_example(source, np.arange(source.count)))
    return np.concatenate([probs for probs, _, _ in batches]), np.concatenate([labels for _, labels, _ in batches])


def measure(model: str, data: str, batch_size: int = 64) -> str:
    """A table with a line for each dtype.

    Args:
      model: folder of a run, or anything else that `ns_jax.load` opens.
      data: source string of the examples; without labels there is no accuracy.
      batch_size: of the predictions.
    """
    artifact, source = read(model), open_source(data)
    results = {dtype: probabilities(artifact, source, dtype, batch_size) for dtype in DTYPES}
    reference = results["float32"][0]
    rows = []
    for dtype, (probs, labels) in results.items():
        correct = f"{100 * np.mean(probs.argmax(1) == labels):.2f}" if source.num_classes else "-"
        other_class = 100 * np.mean(probs.argmax(1) != reference.argmax(1))
        changes = np.abs(probs.max(1) - reference.max(1))
        rows.append([dtype, correct, f"{other_class:.2f}", f"{changes.mean():.1e}", f"{changes.max():.1e}"])
    header = ["dtype", "top-1 %", "another top class, %", "change of confidence, mean", "largest"]
    return f"{len(reference)} images of {data}\n\n{markdown_table(header, rows)}"


def define_flags() -> None:
    flags.DEFINE_string("model", None, "A run's folder, or any model that ns_jax.load opens.", required=True)
    flags.DEFINE_string("data", "mnist5k:test", "Source of the examples.")
    flags.DEFINE_integer("batch_size", 64, "Of the predictions.", 1)


def main(argv) -> None:
    del argv
    print(measure(FLAGS.model, FLAGS.data, FLAGS.batch_size))


if __name__ == "__main__":
    define_flags()
    app.run(main)
