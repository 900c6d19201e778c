"""Is a noisy student more robust? Teacher, last student and supervised control over several seeds.

  python -m benchmarks.robustness_gain --folder=DIR [--study=demo] [--seeds=0,1,2]

  python -m ns_jax.data.import_fashion_mnist --data_dir=DATA
  python -m benchmarks.robustness_gain --study=fashion --folder=DIR --data_dir=DATA

Trains a chain and its control for every seed, measures the suite robustness of `ns_jax.evaluate` on teacher, last
student and control, and prints a table of docs/results.md. The runs are those of benchmarks.demo_gain where the folder
is the same. An interrupted command continues. On two cores the demo takes some 8 minutes of training and 7 of
measuring a seed.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import app, flags

from benchmarks import runs
from benchmarks.paired import Difference, difference_of, verdict
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Study:
    """A chain and its control, and the images on which they are measured.

    Attributes:
      chain: config; {seed} in it stands for the seed.
      control: config of the supervised control.
      last: name of the last student's iteration.
      data: {source string of labeled images: evaluations of the suite}; fewer images where each has many copies.
    """

    chain: str
    control: str
    last: str
    data: Mapping[str, tuple[str, ...]]


CHEAP = ("clean", "calibration", "fgsm")
MANY_COPIES = ("pgd", "corruptions", "perturbations")
STUDIES = {
    "demo": Study(
        "configs/mnist5k.py:chain", "configs/mnist5k.py:control", "iteration_3", {"mnist5k:test": CHEAP + MANY_COPIES}
    ),
    "fashion": Study(
        "configs/ablation_iterations.py:1,fashion:{seed}",
        "configs/ablation_iterations.py:control,fashion:{seed}",
        "iteration_1",
        {"fashion_mnist:test": CHEAP, "tfds:fashion_mnist/test[:2000]": MANY_COPIES},
    ),
}


def percent(*keys: str) -> Callable[[dict], float]:
    """A number of the results, {evaluation: result}, in percent."""

    def read(results: dict) -> float:
        value = results
        for key in keys:
            value = value[key]
        return 100 * value

    return read


def percent_wrong(*keys: str) -> Callable[[dict], float]:
    """An accuracy of the results as an error, in percent."""
    accuracy = percent(*keys)
    return lambda results: 100 - accuracy(results)


# Errors, so that less is better in every line; in percent.
MEASURES: dict[str, Callable[[dict], float]] = {
    "error, clean images": percent_wrong("clean", "top1"),
    "error, 75 corrupted copies": percent("corruptions", "mean_error"),
    "flips between frames": percent("perturbations", "mean_flips"),
    **{f"error, FGSM at {epsilon}": percent_wrong("fgsm", "top1_at", str(epsilon)) for epsilon in (2, 4, 8, 16)},
    "error, PGD at 16": percent_wrong("pgd", "top1_at", "16"),
    "ECE": percent("calibration", "ece"),
    "ECE, after its temperature": percent("calibration", "ece_scaled"),
}


def evaluate(model: Path, data: str, only: Sequence[str], out: Path, *more: str) -> None:
    """Measures a model in a process of its own; what is there already is kept."""
    command = [sys.executable, "-m", "ns_jax.evaluate", f"--model={model}", f"--data={data}", f"--out={out}"]
    subprocess.run([*command, f"--only={','.join(only)}", "--batch_size=500", *more], check=True)


def measure(
    folder: Path, name: str, seeds: Sequence[str], overrides: Mapping[str, object] | None = None, data_dir: str = ""
) -> str:
    """Runs and measures what is missing.

    Args:
      folder: where runs and results go.
      name: of a study.
      seeds: of the runs.
      overrides: fields of both configs.
      data_dir: of TFDS, '' for its own.

    Returns:
      The table, see `as_table`.
    """
    study = STUDIES[name]
    shared = {"compilation_cache_dir": folder / "compilation_cache", **(overrides or {})}
    if data_dir:
        shared["data.dir"] = data_dir
    by_seed = []
    for seed in seeds:
        workdirs = {form: folder / f"{form}-{seed}" for form in ("chain", "control")}
        runs.run_main(study.chain.format(seed=seed), workdirs["chain"], {"seed": seed, **shared})
        runs.run_main(study.control.format(seed=seed), workdirs["control"], {"seed": seed, **shared})
        models = {
            "teacher": workdirs["chain"] / "iteration_0",
            "student": workdirs["chain"] / study.last,
            "control": workdirs["control"],
        }
        results: dict[str, dict] = {}
        for model, trained in models.items():
            out = folder / f"robustness-{seed}" / model
            for data, only in study.data.items():
                evaluate(trained, data, only, out, *([f"--data_dir={data_dir}"] if data_dir else []))
            results[model] = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob("*.json"))}
        by_seed.append(results)
    return as_table(by_seed)


def described(difference: Difference) -> str:
    """Mean and 95 % interval, as text; without an interval where there is one seed."""
    if len(difference.values) < 2:
        return f"{difference.mean:+.1f}"
    return f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})"


def as_table(by_seed: Sequence[Mapping[str, dict]]) -> str:
    """Means over the seeds, and the student's differences, paired by seed, in Markdown.

    Args:
      by_seed: {model: {evaluation: result}} of each seed.
    """
    rows = []
    for name, read in MEASURES.items():
        values = {model: [read(results[model]) for results in by_seed] for model in by_seed[0]}
        to_teacher = difference_of(values["student"], values["teacher"])
        rows.append(
            [
                name,
                *(f"{statistics.mean(values[model]):.1f}" for model in ("teacher", "student", "control")),
                described(to_teacher),
                described(difference_of(values["student"], values["control"])),
                verdict(to_teacher, wants_more=False),
            ]
        )
    header = ["%", "teacher", "student", "control", "student - teacher", "student - control", "the paper's direction"]
    return markdown_table(header, rows)


def define_flags() -> None:
    flags.DEFINE_string("folder", None, "Where runs and results go.", required=True)
    flags.DEFINE_enum("study", "demo", list(STUDIES), "What is trained.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")
    flags.DEFINE_string("data_dir", "", "Where TFDS keeps its data.")


def main(argv) -> None:
    del argv
    print(measure(Path(FLAGS.folder), FLAGS.study, FLAGS.seeds, data_dir=FLAGS.data_dir))


if __name__ == "__main__":
    define_flags()
    app.run(main)
