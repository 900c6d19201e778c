"""An ablation on the demo's digits over several seeds: the student's top-1 in each row, beside its teacher's.

  python -m benchmarks.small_ablations --folder=DIR --experiment=ablation_noise --rows=noised,no_aug,no_noise

Runs configs/EXPERIMENT.py:ROW,small (a teacher takes about a minute on two cores, a student about one; an
interrupted run continues) and prints a table. The rows of a seed share their teacher.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from absl import app, flags

from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "Where the runs go.", required=True)
flags.DEFINE_string("experiment", "ablation_noise", "A file in configs/ whose forms end in ',small'.")
flags.DEFINE_list("rows", ["noised", "no_aug", "no_noise", "noised_teacher"], "Rows of it.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")


def run(row: str, seed: str, teacher: Path | None) -> Path:
    """The finished run's folder. `teacher`: a run of the same seed, whose first iteration is taken over."""
    workdir = Path(FLAGS.folder) / f"{FLAGS.experiment}-{row.replace('/', '_')}-{seed}"
    if teacher and not workdir.exists():
        shutil.copytree(teacher / "iteration_0", workdir / "iteration_0")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "ns_jax.main",
            f"--config=configs/{FLAGS.experiment}.py:{row},small",
            f"--workdir={workdir}",
            f"--config.seed={seed}",
            f"--config.compilation_cache_dir={FLAGS.folder}/compilation_cache",
        ],
        check=True,
    )
    return workdir


def top1(folder: Path) -> float:
    return 100 * json.loads((folder / "evaluation.json").read_text())["top1"]


def main(argv) -> None:
    del argv
    found = {"teacher": [], **{row: [] for row in FLAGS.rows}}
    for seed in FLAGS.seeds:
        first = None
        for row in FLAGS.rows:
            workdir = run(row, seed, first)
            first = first or workdir
            found[row].append(top1(workdir / "iteration_1"))
        found["teacher"].append(top1(first / "iteration_0"))
    table = [
        [name, *(f"{value:.1f}" for value in values), f"{statistics.mean(values):.1f}"]
        for name, values in found.items()
    ]
    print(markdown_table([FLAGS.experiment, *(f"seed {seed}" for seed in FLAGS.seeds), "mean"], table))


if __name__ == "__main__":
    app.run(main)
