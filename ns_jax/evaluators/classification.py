"""Top-1, top-5, cross-entropy and the numbers of metrics.py, over all classes of the model or a subset of them."""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.metrics import classification_metrics
from ns_jax.evaluators.predictions import MAX_PROBABILITIES, Predictions
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import gather_rows, sum_over_hosts

NUMBERED = 1000  # classes of ImageNet, whose folders may have numbers as names


def subset_columns(class_names: tuple[str, ...], subset: tuple[str, ...]) -> np.ndarray:
    """Places of the classes of `subset` among a model's, int64; all of them where `subset` is empty.

    Raises:
      UserError: the model does not have a class.
    """
    if not subset:
        return np.arange(len(class_names))
    unknown = [name for name in subset if name not in class_names]
    if unknown:
        raise UserError(f"evaluations: the model has no class {unknown[0]!r}")
    return np.array([class_names.index(name) for name in subset])


def label_columns(source: Source, class_names: tuple[str, ...]) -> np.ndarray:
    """The place among `class_names` of each of the source's classes, -1 for one that is not there.

    Of ImageNet, folders may also have the number of a class as name, as those of ImageNet-V2 do.
    """
    places = {name: place for place, name in enumerate(class_names)}
    if len(class_names) == NUMBERED and not any(name in places for name in source.class_names):
        places = {str(number): number for number in range(NUMBERED)}
    return np.array([places.get(name, -1) for name in source.class_names])


def labels_among(source: Source, class_names: tuple[str, ...], may_lack: bool = False) -> np.ndarray:
    """As `label_columns`.

    Args:
      source: labeled.
      class_names: those that count.
      may_lack: whether classes of the source that are not there are allowed where nobody knows whether they have
        images; `check_labels` then finds those that do.

    Raises:
      UserError: a class of the source is not there, and has images.
    """
    columns = label_columns(source, class_names)
    missing, labels = columns < 0, getattr(source, "labels", None)
    if labels is not None:
        missing = missing & (np.bincount(labels, minlength=len(columns)) > 0)
    elif may_lack:
        return columns
    check_labels(source, class_names, np.where(missing, -1, 0), np.arange(len(columns)))
    return columns


def check_labels(source: Source, class_names: tuple[str, ...], columns: np.ndarray, labels: np.ndarray) -> None:
    """Raises UserError where one of the labels int [N] has no place, -1 in `columns`, among the classes that count."""
    if (columns[labels] < 0).any():
        name = source.class_names[labels[int(np.argmin(columns[labels]))]]
        raise UserError(f"{source.name} has the class {name!r}, which is none of the {len(class_names)} that count")


def rank_of_label(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank of the label's probability, 1 for the largest, int64 [N].

    A label that ties with others ranks behind them: a constant model scores nothing.
    """
    of_label = probs[np.arange(len(labels)), labels]
    return (~(probs < of_label[:, None])).sum(1)


def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options) -> dict:
    """Counts every example once.

    Args:
      predictor: of the model.
      source: labeled; its classes are some of the model's, found by name.
      indices: of its readable examples.
      options: `classes`: names to which the model's answers are restricted before the argmax (ImageNet-A and -R).

    Returns:
      {count, correct, top1, top5, cross_entropy}, and up to 20 million probabilities those of `classification_metrics`
      and `predictions`, the Predictions themselves.

    Raises:
      UserError: the source has a class that the model, or the subset, has not.
    """
    columns = subset_columns(predictor.class_names, tuple(options.get("classes", ())))
    answers = tuple(predictor.class_names[column] for column in columns)
    place_of_label = labels_among(source, answers, may_lack=len(columns) < len(predictor.class_names))
    counts, nll = np.zeros(3, np.int64), np.zeros(1)  # counts: examples, top-1, top-5
    keep, kept = len(indices) * len(answers) <= MAX_PROBABILITIES, []
    for probs, labels, places in predictor.every_example(source, indices):
        check_labels(source, answers, place_of_label, labels)
        labels = place_of_label[labels]
        if len(columns) < len(predictor.class_names):
            probs = probs[:, columns]
            probs = probs / np.maximum(probs.sum(1, keepdims=True), 1e-30)
        rank = rank_of_label(probs, labels)
        counts += [len(labels), (rank <= 1).sum(), (rank <= 5).sum()]
        of_label = probs[np.arange(len(labels)), labels].astype(np.float64)
        nll -= np.log(np.maximum(of_label, 1e-30)).sum()
        if keep:
            kept.append((probs, labels, places))
    count, correct, correct5 = sum_over_hosts(counts).tolist()
    if count != len(indices):
        raise RuntimeError(f"{count} of {len(indices)} test examples were evaluated")
    cross_entropy = float(sum_over_hosts(nll)[0] / count)
    result = {
        "count": count,
        "correct": correct,
        "top1": correct / count,
        "top5": correct5 / count,
        "cross_entropy": cross_entropy,
    }
    if keep:
        predictions = gather_predictions(source, kept, answers)
        result |= classification_metrics(predictions.probs, predictions.labels)
        result["predictions"] = predictions
    return result


def gather_predictions(source: Source, batches: list[tuple], class_names: tuple[str, ...]) -> Predictions:
    """The predictions of all hosts in the order of the source.

    Args:
      source: of the images.
      batches: of this host, (probs, labels, indices in the source) each; at least one, which may be empty.
      class_names: of the probabilities.
    """
    probs, labels, indices = (gather_rows(np.concatenate(parts)) for parts in zip(*batches, strict=True))
    order = np.argsort(indices)
    return Predictions(source.ids(indices[order]), labels[order].astype(np.int32), probs[order], class_names)
