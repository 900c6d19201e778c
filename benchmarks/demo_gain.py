"""Does the gain of the demo come from the method? Chains and supervised controls over several seeds.

  python -m benchmarks.demo_gain --folder=DIR [--seeds=0,1,2]

Runs configs/mnist5k.py and its control for every seed (about 8 minutes a seed on two cores; an
interrupted run continues) and prints the table of docs/results.md.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from absl import app, flags

from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "Where the runs go.", required=True)
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")


def run(form: str, seed: str) -> Path:
    workdir = Path(FLAGS.folder) / f"{form}-{seed}"
    command = [
        sys.executable,
        "-m",
        "ns_jax.main",
        f"--config=configs/mnist5k.py:{form}",
        f"--workdir={workdir}",
        f"--config.seed={seed}",
        f"--config.compilation_cache_dir={FLAGS.folder}/compilation_cache",
    ]
    subprocess.run(command, check=True)
    return workdir


def top1(path: Path) -> float:
    return 100 * json.loads((path / "evaluation.json").read_text())["top1"]


def main(argv) -> None:
    del argv
    rows = []
    for seed in FLAGS.seeds:
        chain = run("chain", seed)
        steps = [top1(folder) for folder in sorted(chain.glob("iteration_*"))]
        rows.append([seed, *steps, top1(run("control", seed))])
    means = ["mean", *(statistics.mean(column) for column in list(zip(*rows, strict=True))[1:])]
    header = ["seed", "teacher", *(f"student {i}" for i in range(1, len(rows[0]) - 2)), "supervised control"]
    text = [[str(row[0]), *(f"{value:.1f}" for value in row[1:])] for row in [*rows, means]]
    print(markdown_table(header, text))


if __name__ == "__main__":
    app.run(main)
