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
flags.DEFINE_list("variants", None, "Rows of ns_jax/models/variants.py; all of them where not given.")
flags.DEFINE_string("only_measure", None, "Internal: the folder of one model.")


def measure(folder: str) -> dict:
    """Seconds and bytes of one model in this process."""
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


def write_random_model(name: str, folder: epath.Path) -> tuple[int, int]:
    """Writes an artifact with 1000 classes. Returns (number of parameters, resolution)."""
    import numpy as np
    from flax.traverse_util import unflatten_dict

    from ns_jax.artifact.weights import model_card, save_artifact
    from ns_jax.interop.foreign import expected_shapes
    from ns_jax.models.variants import get_variant

    rng, row = np.random.default_rng(0), get_variant(name)
    shapes = expected_shapes(row, 1000)
    flat = {
        key: np.ones(shape, np.float32) if key.endswith("var") else 0.01 * rng.standard_normal(shape, np.float32)
        for key, shape in shapes.items()
    }
    save_artifact(folder, unflatten_dict(flat, sep="/"), model_card(row, 1000))
    return sum(value.size for key, value in flat.items() if key.startswith("params")), row.test_resolution


def main(argv) -> None:
    del argv
    if FLAGS.only_measure:
        print(json.dumps(measure(FLAGS.only_measure)))
        return
    from ns_jax.models.variants import VARIANTS
    from ns_jax.report.results import markdown_table

    rows = []
    for name in FLAGS.variants or VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            parameters, size = write_random_model(name, epath.Path(folder) / "model")
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.zoo", f"--only_measure={folder}/model"],
                check=True,
                capture_output=True,
                text=True,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        found = json.loads(process.stdout.splitlines()[-1])
        rows.append(
            [
                name,
                f"{parameters / 1e6:.2f} M",
                f"{size}",
                f"{found['load']:.1f} s",
                f"{found['first']:.1f} s",
                f"{found['next']:.2f} s",
                f"{found['peak'] / 2**30:.2f} GiB",
            ]
        )
        print(f"{name}: done", file=sys.stderr, flush=True)
    print(
        markdown_table(
            ["", "parameters", "px", "import and load", "first image (compiles)", "next image", "peak memory"], rows
        )
    )


if __name__ == "__main__":
    app.run(main)
