"""This project and its peers on the same images: accuracy, seconds and images/s.

  python -m benchmarks.peers --folder=DIR [--task=digits|fashion:DRAW:LABELS] [--peers=...] [--seeds=0]

Every peer is trained by its own code, in a process of its own, and gets the same images and labels, backbone (built by
timm of the variant's own blocks), labeled batch, ratio and number of images that may pass through the network in
training; what counts is the last step, never the best. Peers:

  ns_jax      configs/mnist5k.py or the study set's chain: a teacher and its students, all images of all of them
  linear      scikit-learn on pixels
  timm        supervised training: pip install timm
  semilearn   FixMatch of USB: pip install timm scikit-learn && pip install --no-deps semilearn

--python names an interpreter that has torch. A peer that is not installed has a line that says how to install it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import runs
from benchmarks.model_speed import make_task
from benchmarks.peers import task as peer_task
from ns_jax.configs import mnist5k, small
from ns_jax.cores import usable_cores
from ns_jax.data.pipeline import eval_batches
from ns_jax.data.sources.registry import open_source
from ns_jax.experiment.chain import iterations
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
#        module, packages that it needs, how to install them
PEERS = {
    "linear": ("linear", ("sklearn",), "pip install scikit-learn"),
    "timm": ("timm_training", ("torch", "timm"), "pip install timm"),
    "semilearn": (
        "semilearn_fixmatch",
        ("torch", "timm", "semilearn"),
        "pip install timm scikit-learn && pip install --no-deps semilearn",
    ),
}
ALL = ("ns_jax", *PEERS)


def config_of(name: str):
    """The config of a task: the demo, or the study set's teacher and student."""
    return mnist5k.get_config() if name == "digits" else small.base(name)


def arrays_of(name: str, data_dir: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28, 3] and labels int64 [N] of a source of small images."""
    source = open_source(name, data_dir)
    batches = list(eval_batches(source, np.arange(source.count), None, 500))
    images, labels = (np.concatenate([batch[key] for batch in batches])[: source.count] for key in ("image", "label"))
    return images.astype(np.uint8), labels.astype(np.int64)


def images_passed(config, num_labeled: int) -> int:
    """Images that pass through networks in the steps of all iterations of a config, those of an online teacher too."""
    total = 0
    for _, iteration in iterations(config):
        steps = round(iteration.train_epochs * num_labeled / iteration.labeled_batch_size)
        views = 2 if iteration.online_teacher else 1
        ratio = views * iteration.unlabeled_ratio if iteration.data.unlabeled else 0
        total += steps * iteration.labeled_batch_size * (1 + ratio)
    return total


def make(name: str, seed: int, threads: int, data_dir: str = "", images: int = 0) -> tuple[peer_task.Task, dict]:
    """A task and its images; `images` passes, 0: as many as this project's config."""
    config = config_of(name)
    data = config.data
    labeled, labels = arrays_of(data.labeled, data_dir)
    unlabeled, _ = arrays_of(data.unlabeled, data_dir)
    test, answers = arrays_of(data.test, data_dir)
    made = peer_task.Task(
        name=name,
        seed=seed,
        num_classes=10,
        labeled_batch=config.labeled_batch_size,
        ratio=config.unlabeled_ratio,
        images=images or images_passed(config, len(labels)),
        flip="flip" in config.augment,
        threads=threads,
        network=make_task("training", config.variant, 1, threads),
    )
    return made, {
        "labeled_images": labeled,
        "labeled_labels": labels,
        "unlabeled_images": unlabeled,
        "test_images": test,
        "test_labels": answers,
    }


def run_peer(name: str, folder: Path, python: str) -> list[dict]:
    """What a peer reports of the task in a folder, or why there is nothing: [{method, problem}]."""
    module, packages, how = PEERS[name]
    looks = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {packages!r})))"
    if subprocess.run([python, "-c", looks]).returncode:
        return [{"method": name, "problem": f"not installed: {how}"}]
    # Idle threads of OpenMP take the cores from whatever else runs.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    command = [python, "-m", f"benchmarks.peers.{module}", str(folder)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        return [{"method": name, "problem": f"failed: {last[:160]}"}]
    lines = [line for line in process.stdout.splitlines() if line.startswith(peer_task.RESULT)]
    return [json.loads(line.removeprefix(peer_task.RESULT)) for line in lines]


def run_ns_jax(name: str, seed: int, folder: Path, data_dir: str) -> list[dict]:
    """Every iteration of this project's chain; seconds and images are those of all iterations up to it."""
    config = "configs/mnist5k.py" if name == "digits" else f"configs/ablation_iterations.py:1,{name}"
    overrides = {"seed": seed, "compilation_cache_dir": folder / "compilation_cache", "data.dir": data_dir}
    workdir = folder / f"ns_jax-{seed}"
    runs.run_main(config, workdir, overrides)
    loaded, seconds, images, rows = config_of(name), 0.0, 0, []
    num_labeled = json.loads((workdir / "iteration_0" / "data" / "labeled.json").read_text())["count"]
    for title, iteration in iterations(loaded):
        took = json.loads((workdir / title / "took.json").read_text())
        seconds += sum(took[stage]["seconds"] for stage in ("label", "select", "train") if stage in took)
        images += images_passed(iteration, num_labeled)
        method = "ns_jax, " + ("teacher" if title == "iteration_0" else title.replace("iteration_", "student "))
        rows.append({"method": method, "top1": runs.top1(workdir / title), "seconds": seconds, "images": images})
    return rows


def table(rows: Sequence[dict]) -> str:
    """Markdown; images/s of training, with all that belongs to it."""
    text = []
    for row in rows:
        if "problem" in row:
            text.append([row["method"], "-", "-", "-", row["problem"]])
            continue
        speed = f"{row['images'] / row['seconds']:.0f}" if row["images"] else "-"
        text.append([row["method"], f"{row['top1']:.1f}", f"{row['seconds']:.0f}", f"{row['images']}", speed])
    return markdown_table(["method", "top-1, %", "seconds", "images passed", "images/s"], text)


def measure(
    name: str,
    seed: int,
    peers: Sequence[str],
    folder: Path,
    python: str,
    threads: int,
    data_dir: str = "",
    images: int = 0,
) -> list[dict]:
    """Runs the peers one after the other; their results, a row each."""
    made, arrays = make(name, seed, threads, data_dir, images)
    where = folder / f"{name.replace(':', '_')}-{seed}"
    peer_task.write(where, made, arrays)
    rows = []
    for peer in peers:
        rows += run_ns_jax(name, seed, where, data_dir) if peer == "ns_jax" else run_peer(peer, where, python)
        (where / "results.json").write_text(json.dumps(rows, indent=1))
    return rows


def define_flags() -> None:
    flags.DEFINE_string("folder", None, "Where tasks and runs go.", required=True)
    flags.DEFINE_string("task", "digits", "digits, or fashion:DRAW:LABELS.")
    flags.DEFINE_list("peers", list(ALL), f"Of {', '.join(ALL)}.")
    flags.DEFINE_list("seeds", ["0"], "Seeds.")
    flags.DEFINE_string("python", sys.executable, "Interpreter of the peers.")
    flags.DEFINE_string("data_dir", "", "Where TFDS keeps its data; '': its default, or Debian's package.")


def main(argv) -> None:
    del argv
    if unknown := [peer for peer in FLAGS.peers if peer not in ALL]:
        raise SystemExit(f"error: there is no peer {unknown[0]!r}; there are {', '.join(ALL)}")
    if FLAGS.task != "digits" and not small.is_small_set(FLAGS.task):
        raise SystemExit(f"error: there is no task {FLAGS.task!r}; write digits or fashion:DRAW:LABELS")
    folder, threads = Path(FLAGS.folder).absolute(), usable_cores()
    for seed in FLAGS.seeds:
        rows = measure(FLAGS.task, int(seed), FLAGS.peers, folder, FLAGS.python, threads, FLAGS.data_dir)
        print(f"{FLAGS.task}, seed {seed}\n\n{table(rows)}\n", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)
