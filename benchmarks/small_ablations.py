"""An ablation on the demo's digits over several seeds: top-1 of the student of each variant, beside its teacher's.

  python -m benchmarks.small_ablations --folder=DIR --experiment=ablation_noise --rows=noised,no_aug,no_noise

Runs configs/EXPERIMENT.py:ROW,small (a teacher takes about a minute on two cores, a student about one; an
interrupted run continues) and prints a table. The teachers of a seed are the same, bit for bit, in every row that
changes the student alone.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import app, flags

from benchmarks import runs
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS


def measure(
    folder: Path,
    experiment: str,
    rows: Sequence[str],
    seeds: Sequence[str],
    overrides: Mapping[str, object] | None = None,
) -> str:
    """Runs every row for every seed.

    Args:
      folder: where the runs go.
      experiment: a file in configs/.
      rows: of its table.
      seeds: of the runs.
      overrides: fields of all configs.

    Returns:
      A table: test accuracy in % of the first row's teacher and of each row's student, seed by seed.
    """
    shared = {"compilation_cache_dir": folder / "compilation_cache", **(overrides or {})}
    accuracies: dict[str, list[float]] = {"teacher": [], **{row: [] for row in rows}}
    for seed in seeds:
        workdirs = {row: folder / f"{experiment}-{row.replace('/', '_')}-{seed}" for row in rows}
        for row, workdir in workdirs.items():
            runs.run_main(f"configs/{experiment}.py:{row},small", workdir, {"seed": seed, **shared})
            accuracies[row].append(runs.top1(workdir / "iteration_1"))
        accuracies["teacher"].append(runs.top1(workdirs[rows[0]] / "iteration_0"))
    text = [
        [name, *(f"{value:.1f}" for value in values), f"{statistics.mean(values):.1f}"]
        for name, values in accuracies.items()
    ]
    return markdown_table([experiment, *(f"seed {seed}" for seed in seeds), "mean"], text)


def define_flags() -> None:
    flags.DEFINE_string("folder", None, "Where the runs go.", required=True)
    flags.DEFINE_string("experiment", "ablation_noise", "A file in configs/ that has a small version: ROW,small.")
    flags.DEFINE_list("rows", ["noised", "no_aug", "no_noise", "noised_teacher"], "Rows of its table.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")


def main(argv) -> None:
    del argv
    print(measure(Path(FLAGS.folder), FLAGS.experiment, FLAGS.rows, FLAGS.seeds))


if __name__ == "__main__":
    define_flags()
    app.run(main)
