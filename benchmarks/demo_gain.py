"""Does the gain of the demo come from the method? Chains and supervised controls over several seeds.

  python -m benchmarks.demo_gain --folder=DIR [--seeds=0,1,2] [--chain=views]

Runs configs/mnist5k.py and its control for every seed (about 8 minutes a seed on two cores; an
interrupted run continues) and prints the table of docs/results.md.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import app, flags

from benchmarks import runs
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS


def measure(
    folder: Path, seeds: Sequence[str], chain: str = "chain", overrides: Mapping[str, object] | None = None
) -> str:
    """Runs a chain and its control for every seed.

    Args:
      folder: where the runs go.
      seeds: of the runs.
      chain: name of the chain in configs/mnist5k.py.
      overrides: fields of both configs.

    Returns:
      A table: test accuracy in % of every iteration and of the control, seed by seed.
    """
    shared = {"compilation_cache_dir": folder / "compilation_cache", **(overrides or {})}
    rows: list[list] = []
    for seed in seeds:
        workdirs = {name: folder / f"{name}-{seed}" for name in (chain, "control")}
        for name, workdir in workdirs.items():
            runs.run_main(f"configs/mnist5k.py:{name}", workdir, {"seed": seed, **shared})
        iterations = sorted(workdirs[chain].glob("iteration_*"))
        rows.append([seed, *(runs.top1(iteration) for iteration in iterations), runs.top1(workdirs["control"])])
    columns = list(zip(*rows, strict=True))[1:]
    rows.append(["mean", *(statistics.mean(column) for column in columns)])
    students = [f"student {number}" for number in range(1, len(columns) - 1)]
    text = [[str(name), *(f"{value:.1f}" for value in values)] for name, *values in rows]
    return markdown_table(["seed", "teacher", *students, "supervised control"], text)


def define_flags() -> None:
    flags.DEFINE_string("folder", None, "Where the runs go.", required=True)
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")
    flags.DEFINE_string("chain", "chain", "Which chain of configs/mnist5k.py: chain or views.")


def main(argv) -> None:
    del argv
    print(measure(Path(FLAGS.folder), FLAGS.seeds, FLAGS.chain))


if __name__ == "__main__":
    define_flags()
    app.run(main)
