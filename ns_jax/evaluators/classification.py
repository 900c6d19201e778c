"""Top-1, top-5 and cross-entropy, over all classes of the model or a subset of them."""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import sum_over_hosts


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
    """The place among `class_names` of each of the source's classes, -1 for one that is not there."""
    places = {name: place for place, name in enumerate(class_names)}
    return np.array([places.get(name, -1) for name in source.class_names])


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
      {count, correct, top1, top5, cross_entropy}.

    Raises:
      UserError: the source has a class that the model, or the subset, has not.
    """
    columns = subset_columns(predictor.class_names, tuple(options.get("classes", ())))
    answers = tuple(predictor.class_names[column] for column in columns)
    place_of_label = label_columns(source, answers)
    if (place_of_label < 0).any():
        missing = source.class_names[int(np.argmin(place_of_label))]
        raise UserError(f"{source.name} has the class {missing!r}, which is none of the {len(answers)} that count")
    counts, nll = np.zeros(3, np.int64), np.zeros(1)  # counts: examples, top-1, top-5
    for probs, labels, _ in predictor.every_example(source, indices):
        labels = place_of_label[labels]
        if len(columns) < len(predictor.class_names):
            probs = probs[:, columns]
            probs = probs / np.maximum(probs.sum(1, keepdims=True), 1e-30)
        rank = rank_of_label(probs, labels)
        counts += [len(labels), (rank <= 1).sum(), (rank <= 5).sum()]
        of_label = probs[np.arange(len(labels)), labels].astype(np.float64)
        nll -= np.log(np.maximum(of_label, 1e-30)).sum()
    count, correct, correct5 = sum_over_hosts(counts).tolist()
    if count != len(indices):
        raise RuntimeError(f"{count} of {len(indices)} test examples were evaluated")
    cross_entropy = float(sum_over_hosts(nll)[0] / count)
    return {
        "count": count,
        "correct": correct,
        "top1": correct / count,
        "top5": correct5 / count,
        "cross_entropy": cross_entropy,
    }
