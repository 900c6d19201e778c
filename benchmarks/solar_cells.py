"""Does a noisy student gain on solar cells? Teacher, student and supervised control over several draws of the labels.

  python -m benchmarks.solar_cells --folder=DIR [--draws=0,1,2,3,4] [--picture=docs/images/solar_cells.png]

Runs configs/solar_cells.py for each draw (some 15 minutes a draw on two cores; an interrupted run continues), and
beside it what takes no training of the network: logistic regression on the pooled features of EfficientNet-Lite0, and
scikit-learn's self-training with it. Prints the tables of docs/own_images.md, and draws its picture: AUROC of each
draw, and how far the probabilities can be believed. Needs the extras solar and start.
"""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from etils import epath
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from benchmarks import runs
from ns_jax.data.sources.solar_cells import Cells, read_package, split_indices
from ns_jax.evaluators.metrics import calibration_bins
from ns_jax.evaluators.predictions import read_predictions
from ns_jax.report.figures import new_figure, save
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
ITERATIONS = {"iteration_0": "teacher", "iteration_1": "student", "control": "supervised control"}
LOGISTIC, SELF_TRAINING = "logistic regression on features", "self-training on features"
METHODS = (*ITERATIONS.values(), LOGISTIC, SELF_TRAINING)
RESOLUTION = 224  # of the features, pixels
INVERSE_PENALTY = 0.01  # of the logistic regression, on standardised features; chosen on draws 10 to 15
BATCH = 64
BINS = 16  # of the reliability diagram, of which two classes fill the upper half


def score(probability: np.ndarray, labels: np.ndarray, is_certain: np.ndarray) -> dict[str, float]:
    """AUROC, balanced accuracy, accuracy, and the AUROC on cells that are certainly whole or defective."""
    return {
        "auroc": roc_auc_score(labels, probability),
        "balanced": balanced_accuracy_score(labels, probability > 0.5),
        "accuracy": float(np.mean((probability > 0.5) == labels)),
        "auroc of certain cells": roc_auc_score(labels[is_certain], probability[is_certain]),
    }


def trained(folder: Path, cells: Cells) -> dict[str, dict[str, float]]:
    """{method: scores} of the iterations of a run."""

    defect = {os.path.basename(path).encode(): value for path, value in zip(cells.paths, cells.defect, strict=True)}
    scores = {}
    for iteration, name in ITERATIONS.items():
        with np.load(folder / iteration / "evaluations" / "test.npz") as arrays:
            probability = np.array([defect[image] for image in arrays["id"].tolist()])
            is_certain = (probability == 0) | (probability == 1)
            scores[name] = score(arrays["probs"][:, 1], arrays["label"], is_certain)
    return scores


def pooled_features(cells: Cells) -> np.ndarray:
    """Pooled features of all cells by the start's weights, float32 [2624, 1280]."""
    import ns_jax

    model = ns_jax.load("efficientnet-lite0", resolution=RESOLUTION)
    parts = []
    for start in range(0, len(cells.paths), BATCH):
        images = np.stack([model.preprocess(path) for path in cells.paths[start : start + BATCH]])
        parts.append(model.features(images))
    return np.concatenate(parts)


def on_features(features: np.ndarray, cells: Cells, draw: int) -> dict[str, dict[str, float]]:
    """{method: scores} of classifiers of features."""
    test, labeled, unlabeled = (split_indices(split, cells.labels, draw) for split in ("test", "labeled", "unlabeled"))
    is_certain = (cells.defect[test] == 0) | (cells.defect[test] == 1)
    logistic = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000)
    supervised = make_pipeline(StandardScaler(), logistic).fit(features[labeled], cells.labels[labeled])
    both = np.concatenate([labeled, unlabeled])
    known = np.concatenate([cells.labels[labeled], np.full(len(unlabeled), -1)])  # -1: scikit-learn's for none
    self_trained = make_pipeline(StandardScaler(), SelfTrainingClassifier(logistic)).fit(features[both], known)
    return {
        name: score(classifier.predict_proba(features[test])[:, 1], cells.labels[test], is_certain)
        for name, classifier in ((LOGISTIC, supervised), (SELF_TRAINING, self_trained))
    }


def measure(folder: Path, draws: Sequence[int], overrides: Mapping[str, object] | None = None) -> str:
    """Runs what is missing, and returns the tables: AUROC draw by draw, and the means of all scores.

    Args:
      folder: where the runs go.
      draws: of the labels.
      overrides: fields of the config.
    """
    shared = {"compilation_cache_dir": folder / "compilation_cache", **(overrides or {})}
    cells, results = read_package(), {}
    features = pooled_features(cells)
    for draw in draws:
        workdir = folder / f"draw-{draw}"
        runs.run_main(f"configs/solar_cells.py:{draw}", workdir, shared)
        results[draw] = trained(workdir, cells) | on_features(features, cells, draw)
        (folder / f"draw-{draw}.json").write_text(json.dumps(results[draw], indent=1))
    return "\n\n".join([by_draw(results), by_score(results)])


def by_draw(results: Mapping[int, dict]) -> str:
    """AUROC of each method, draw by draw."""
    rows = [[str(draw), *(f"{scores[name]['auroc']:.3f}" for name in METHODS)] for draw, scores in results.items()]
    means = [statistics.mean(scores[name]["auroc"] for scores in results.values()) for name in METHODS]
    return markdown_table(["AUROC, draw", *METHODS], [*rows, ["mean", *(f"{value:.3f}" for value in means)]])


def by_score(results: Mapping[int, dict]) -> str:
    """Mean and standard deviation over the draws of each score."""
    names = list(next(iter(results.values()))[LOGISTIC])
    rows = []
    for method in METHODS:
        columns = [[scores[method][name] for scores in results.values()] for name in names]
        rows.append([method, *(f"{np.mean(column):.3f} +- {np.std(column):.3f}" for column in columns)])
    return markdown_table(["mean of draws", *names], rows)


def draw_picture(folder: Path, draws: Sequence[int], to: Path) -> None:
    """Draws AUROC per draw, and confidence against accuracy over all draws, of what `measure` has left in `folder`."""
    figure, axes = new_figure(1, 2, (10, 3.8))
    left, right = axes.flat
    results = [json.loads((folder / f"draw-{draw}.json").read_text()) for draw in draws]
    for place, method in enumerate(METHODS):
        values = [scores[method]["auroc"] for scores in results]
        left.plot(values, [place] * len(values), "o", alpha=0.6)
        left.plot(statistics.mean(values), place, "k|", markersize=18)
    left.set_yticks(range(len(METHODS)), METHODS)
    left.invert_yaxis()
    left.set_xlabel("AUROC on 656 test images; a bar: the mean")
    for iteration, method in ITERATIONS.items():
        confidence, is_right = answers([folder / f"draw-{draw}" / iteration for draw in draws])
        bins = calibration_bins(confidence, is_right, BINS)
        filled = bins["count"] > 0
        right.plot(bins["confidence"][filled], bins["accuracy"][filled], "o-", label=method)
    right.plot([0.5, 1], [0.5, 1], "k:", label="as sure as right")
    right.set_xlabel("confidence")
    right.set_ylabel("accuracy")
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    save(figure, epath.Path(to))


def answers(iterations: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, whether it is right) of all test answers of some iterations."""
    tests = [read_predictions(epath.Path(iteration) / "evaluations" / "test.npz") for iteration in iterations]
    probs, labels = (np.concatenate([getattr(test, name) for test in tests]) for name in ("probs", "labels"))
    return probs.max(1), probs.argmax(1) == labels


def define_flags() -> None:
    flags.DEFINE_string("folder", None, "Where the runs go.", required=True)
    flags.DEFINE_list("draws", ["0", "1", "2", "3", "4"], "Draws of the labels.")
    flags.DEFINE_string("picture", None, "Where the picture goes; none where it is not given.")


def main(argv) -> None:
    del argv
    folder, draws = Path(FLAGS.folder), [int(draw) for draw in FLAGS.draws]
    print(measure(folder, draws))
    if FLAGS.picture:
        draw_picture(folder, draws, Path(FLAGS.picture))


if __name__ == "__main__":
    define_flags()
    app.run(main)
