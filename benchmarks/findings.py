"""The paper's eight findings, its noise ablation and its iterations on the study set, over several draws and seeds.

  python -m benchmarks.findings --finding=all --folder=DIR [--seeds=0,1,2,3,4]
  python -m benchmarks.findings --table

The first runs what is missing (an interrupted run continues; --finding=N runs one of them) and adds what it measured to
benchmarks/results/findings. A model that several rows need is trained once. The second makes the table of
docs/findings.md and its picture of what is kept there, without running anything. A seed is also the draw of the labels.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import app, flags, logging
from etils import epath

from benchmarks.study import models, records, table
from benchmarks.study.findings import BY_NAME, FINDINGS, Finding
from ns_jax.errors import UserError
from ns_jax.host_memory import restart_with_kept_memory, use_cpu_alone
from ns_jax.session import one_line_errors, set_up

FLAGS = flags.FLAGS
RESULTS = records.REPO / "benchmarks" / "results" / "findings"
DOCUMENT = records.REPO / "docs" / "findings.md"
PICTURE = records.REPO / "docs" / "images" / "findings.png"


def measure(
    folder: Path,
    findings: Sequence[Finding],
    seeds: Sequence[int],
    labels: int,
    results: Path,
    overrides: Mapping[str, object] | None = None,
    change: Callable = lambda config: None,
) -> None:
    """Trains what is missing, and keeps a record of every model; one that fails is recorded as such.

    First what decides the findings, seed by seed, then the other rows.

    Args:
      folder: where the models go.
      findings: whose rows are run.
      seeds: of the runs and draws.
      labels: of each class.
      results: folder of the records.
      overrides: fields that do not decide the result.
      change: see `models.model_of`.
    """
    source = records.source_hash()
    about = {"source": source, "commit": records.commit(), "labels": labels, "processor": records.processor()}
    finished = {record["key"] for record in records.read(results) if record["source"] == source and "top1" in record}
    for seed, row in in_order(findings, seeds):
        for model in models.model_of(row, seed, labels, change).with_teachers():
            if model.key in finished and (folder / source / model.key / "result.json").exists():
                continue
            record = {"key": model.key, "seed": seed, "row": row, **about}
            is_trained = _train(model, folder / source, overrides or {}, record)
            records.keep(results, seed, record)
            if not is_trained:
                break
            finished.add(model.key)


def in_order(findings: Sequence[Finding], seeds: Sequence[int]) -> list[tuple[int, str]]:
    """(seed, row) of all rows, the deciding ones of every seed first."""
    first = [(seed, row) for seed in seeds for finding in findings for row in finding.deciding_rows]
    then = [(seed, row) for seed in seeds for finding in findings for row in finding.all_rows]
    return list(dict.fromkeys([*first, *then]))


def _train(model: models.Model, folder: Path, overrides: Mapping[str, object], record: dict) -> bool:
    """Adds to `record` what came of training a model; whether it came to its end."""
    started_at = time.monotonic()
    print(f"--- seed {record['seed']}, {record['row']}: {model.key}", flush=True)
    try:
        record |= models.train(model, folder, overrides)
    except (UserError, MemoryError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())[:200]
        record["failed"] = f"{type(error).__name__}: {line}"
        print(record["failed"], flush=True)
        return False
    print(f"--- top-1 {record['top1']:.2f} %, {time.monotonic() - started_at:.0f} s", flush=True)
    return True


def define_flags() -> None:
    flags.DEFINE_list("finding", ["all"], f"Which: {', '.join(BY_NAME)}, or all.")
    flags.DEFINE_string("folder", None, "Where the models go.")
    flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds, and draws of the labels.")
    flags.DEFINE_integer("labels", 25, "Labels of each class.")
    flags.DEFINE_string("results", str(RESULTS), "Folder of the records.")
    flags.DEFINE_string("data_dir", "", "Where TFDS keeps its data; '': its default, or Debian's package.")
    flags.DEFINE_bool("table", False, "Makes table and picture of the records, and runs nothing.")
    flags.DEFINE_string("source", "", "Records of which source code the table shows; '': the one with the most.")


def main(argv) -> None:
    del argv
    results, labels = Path(FLAGS.results), FLAGS.labels
    if FLAGS.table:
        study = table.collect(records.read(results), labels, FLAGS.source)
        text = table.text(study)
        table.write_into(DOCUMENT, text)
        table.draw(study, epath.Path(PICTURE))
        print(text)
        return
    if unknown := [name for name in FLAGS.finding if name not in (*BY_NAME, "all")]:
        raise SystemExit(f"error: there is no finding {unknown[0]!r}; there are {', '.join(BY_NAME)}, or all")
    if not FLAGS.folder:
        raise SystemExit("error: --folder: name a folder for the models")
    logging.set_verbosity(logging.WARNING)
    chosen = FINDINGS if "all" in FLAGS.finding else [BY_NAME[name] for name in FLAGS.finding]
    folder = Path(FLAGS.folder).absolute()
    set_up(epath.Path(folder))
    with one_line_errors(str(folder)):
        measure(folder, chosen, [int(seed) for seed in FLAGS.seeds], labels, results, {"data.dir": FLAGS.data_dir})


if __name__ == "__main__":
    define_flags()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    restart_with_kept_memory()
    app.run(main)
