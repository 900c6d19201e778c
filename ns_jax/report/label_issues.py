"""report/label_issues.csv: labeled images whose label looks wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021. It takes
probabilities of models that have not been trained on the images: of validation images, or out of fold.
"""

import numpy as np
from etils import epath

from ns_jax.evaluators.predictions import Predictions, read_predictions
from ns_jax.report.labels import os_path, write_csv

FILES = ("out_of_fold.npz", "evaluations/validation.npz")  # of an iteration's folder


def confident_classes(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class that each image is counted as, int64 [N]; -1 where no class is likely enough.

    A class is likely enough where its probability reaches the mean that images labeled so have for it (section 3.1);
    of several, the most probable counts. Of a class without labeled images nothing is.

    Args:
      probs: float32 [N, classes].
      labels: int [N].
    """
    classes = probs.shape[1]
    support = np.bincount(labels, minlength=classes)
    of_label = probs[np.arange(len(labels)), labels].astype(np.float64)
    thresholds = np.full(classes, np.inf)
    thresholds[support > 0] = (np.bincount(labels, of_label, classes) / np.maximum(support, 1))[support > 0]
    likely = probs >= thresholds - 1e-9  # the mean of equal probabilities may be above them by its round-off
    counted = np.where(likely, probs, -1).argmax(1)
    return np.where(likely.any(1), counted, -1)


def confident_joint(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images by [label, class that they are counted as], int64 [classes, classes]; see `confident_classes`."""
    classes, counted = probs.shape[1], confident_classes(probs, labels)
    sure = counted >= 0
    places = labels[sure].astype(np.int64) * classes + counted[sure]
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def label_issues(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images off the diagonal of the confident joint, the likeliest mistakes first.

    Args:
      probs: float32 [N, classes].
      labels: int [N].

    Returns:
      places int64 [M], the classes that they look like int64 [M], and normalised margins float64 [M]: probability of
      the label minus the highest of the others, in [-1, 1], ascending.
    """
    counted = confident_classes(probs, labels)
    places = np.flatnonzero((counted >= 0) & (counted != labels))
    rows = np.arange(len(places))
    others = probs[places].astype(np.float64)
    of_label = others[rows, labels[places]]
    others[rows, labels[places]] = -1
    margin = of_label - others.max(1, initial=-1)
    order = np.argsort(margin, kind="stable")
    return places[order], counted[places[order]], margin[order]


def unseen_predictions(folder: epath.Path) -> list[tuple[str, Predictions]]:
    """(file, predictions) of the labeled images that were predicted by a model that had not seen them."""
    read = [(name, read_predictions(folder / name)) for name in FILES]
    return [(name, predictions) for name, predictions in read if predictions is not None]


def write_label_issues(folders: list[epath.Path], report: epath.Path) -> int | None:
    """Writes label_issues.csv from the last iteration that has predictions of labeled images it had not seen.

    Args:
      folders: of the iterations, in order.
      report: folder that the file goes to.

    Returns:
      The number of labels that look wrong; None where no iteration has such predictions, and nothing is written.
    """
    for folder in reversed(folders):
        if files := unseen_predictions(folder):
            break
    else:
        return None
    columns: dict[str, list] = {
        key: [] for key in ("path", "label", "looks_like", "label_probability", "margin", "iteration", "predictions")
    }
    for name, predictions in files:
        places, classes, margins = label_issues(predictions.probs, predictions.labels)
        for place, looks_like, margin in zip(places, classes, margins, strict=True):
            label = predictions.labels[place]
            row = (
                os_path(predictions.ids[place]),
                predictions.class_names[label],
                predictions.class_names[looks_like],
                float(predictions.probs[place, label]),
                float(margin),
                folder.name,
                name,
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    write_csv(report / "label_issues.csv", columns)
    return len(columns["path"])
