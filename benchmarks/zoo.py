"""Load time, compile time, speed and memory of every variant, one image at a time, at its own resolution.

  python -m benchmarks.zoo [--variants=efficientnet-b0,efficientnet-l2]

Linux only. Weights are random; each variant is opened by a process of its own, as `ns_jax.load` opens any model.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from etils import epath

FLAGS = flags.FLAGS
HEADER = ["", "parameters", "px", "import and load", "first image (compiles)", "next image", "peak memory"]


def measure(folder: str) -> dict:
    """Opens the model in a folder in this process.

    Returns:
      {load, first, next: seconds of opening it and of its first two images; peak: bytes of the process}.
    """
    import numpy as np

    start = time.perf_counter()
    import ns_jax

    model = ns_jax.load(folder)
    loaded = time.perf_counter()
    image = np.zeros((1, model.resolution, model.resolution, 3), np.uint8)
    model.logits(image)
    answered = time.perf_counter()
    model.logits(image)
    again = time.perf_counter()
    # Not getrusage: its maximum is inherited from the process that started this one.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "load": loaded - start,
        "first": answered - loaded,
        "next": again - answered,
        "peak": int(peak.split()[1]) * 1024,
    }


def write_random_model(variant: str, folder: epath.Path) -> tuple[int, int]:
    """Writes an artifact with 1000 classes. Returns (number of parameters, resolution)."""
    import numpy as np
    from flax.traverse_util import unflatten_dict

    from ns_jax.artifact.metadata import model_metadata
    from ns_jax.artifact.weights import save_artifact
    from ns_jax.models.base import build_network, variable_shapes
    from ns_jax.models.registry import get_architecture

    rng, architecture = np.random.default_rng(0), get_architecture(variant)
    arrays = {}
    for key, shape in variable_shapes(build_network(architecture, 1000)).items():
        is_variance = key.endswith("var")
        arrays[key] = np.ones(shape, np.float32) if is_variance else 0.01 * rng.standard_normal(shape, np.float32)
    save_artifact(folder, unflatten_dict(arrays, sep="/"), model_metadata(architecture, 1000))
    parameters = sum(array.size for key, array in arrays.items() if key.startswith("params"))
    return parameters, architecture.inputs.test_resolution


def measure_apart(variant: str) -> list[str]:
    """Measures a random model of a variant in a process of its own. Returns the table's row."""
    with tempfile.TemporaryDirectory() as folder:
        parameters, size = write_random_model(variant, epath.Path(folder) / "model")
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.zoo", f"--only_measure={folder}/model"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    return table_row(variant, parameters, size, json.loads(process.stdout.splitlines()[-1]))


def table_row(variant: str, parameters: int, size: int, measured: dict) -> list[str]:
    """Writes what `measure` gave in the units of the table, whose columns HEADER names."""
    return [
        variant,
        f"{parameters / 1e6:.2f} M",
        f"{size}",
        f"{measured['load']:.1f} s",
        f"{measured['first']:.1f} s",
        f"{measured['next']:.2f} s",
        f"{measured['peak'] / 2**30:.2f} GiB",
    ]


def define_flags() -> None:
    flags.DEFINE_list("variants", None, "Model variants; all of them where not given.")
    flags.DEFINE_string("only_measure", None, "Internal: the folder of one model.")


def main(argv) -> None:
    del argv
    if FLAGS.only_measure:
        print(json.dumps(measure(FLAGS.only_measure)))
        return
    from ns_jax.models.registry import ARCHITECTURES
    from ns_jax.report.results import markdown_table

    rows = []
    for variant in FLAGS.variants or ARCHITECTURES:
        rows.append(measure_apart(variant))
        print(f"{variant}: done", file=sys.stderr, flush=True)
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    define_flags()
    app.run(main)
