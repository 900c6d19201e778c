"""Errors on corrupted images: ImageNet-C, or the same of any images (sources imagenet_c: and corrupted:)."""

import os

import numpy as np
from etils import epath

from ns_jax.data.corruptions.tables import CORRUPTIONS, SEVERITIES
from ns_jax.data.sources.base import Part, Source
from ns_jax.errors import UserError
from ns_jax.evaluators.classification import labels_among, rank_of_label
from ns_jax.evaluators.parts import IncompleteError, Parts, checks_source, in_parts
from ns_jax.evaluators.robustness import ALEXNET, ALEXNET_ERRORS, mean_corruption_error
from ns_jax.files import read_json
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import sum_over_hosts

MAX_NAMED = 5


@in_parts
@checks_source(lambda source: check_parts(source, set(CORRUPTIONS)))
def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options, parts: Parts) -> dict:
    """Counts every image of every corruption and severity once, on whole images (they are cut already).

    Args:
      predictor: of the model.
      source: in parts CORRUPTION/SEVERITY; its classes are some of the model's.
      indices: of its readable examples.
      options: `baseline`: '' for none, 'alexnet', or the result file of another model's evaluation of the same source.
      parts: those that are finished.

    Returns:
      {count, correct, errors {corruption: error at severity 1 to 5}, mean_error and mean_top1 (plain means), and with a
      baseline mce, in percent, and baseline}.

    Raises:
      IncompleteError: a corruption or a severity is missing; the others are in their parts.
      UserError: the source has other parts or classes, or see `read_baseline`.
    """
    check_parts(source, set(CORRUPTIONS))
    baseline = read_baseline(options["baseline"], source, "errors", ALEXNET_ERRORS)
    whole, place_of_label = predictor.without_crop(), labels_among(source, predictor.class_names)
    measured = {}
    for part in source.parts:
        own = indices[(indices >= part.start) & (indices < part.stop)]
        measured[part.name] = parts.get(part.name, lambda own=own: count_right(whole, source, own, place_of_label))
    missing = [
        f"{corruption}/{severity}"
        for corruption in CORRUPTIONS
        for severity in SEVERITIES
        if not measured.get(f"{corruption}/{severity}", {}).get("count")
    ]
    if missing:
        raise IncompleteError(
            f"{source.name} lacks {len(missing)} of {len(CORRUPTIONS) * len(SEVERITIES)} corruptions and severities, "
            f"{name_some(missing)}: there is no mean over fewer; the others are measured, in {parts.folder}"
        )
    errors = {
        corruption: [error_of(measured[f"{corruption}/{severity}"]) for severity in SEVERITIES]
        for corruption in CORRUPTIONS
    }
    mean_error = float(np.mean(list(errors.values())))
    result = {
        "count": sum(part["count"] for part in measured.values()),
        "correct": sum(part["correct"] for part in measured.values()),
        "errors": errors,
        "mean_error": mean_error,
        "mean_top1": 1 - mean_error,
    }
    if baseline is not None:
        result |= {"mce": mean_corruption_error(errors, baseline), "baseline": options["baseline"]}
    return result


def error_of(part: dict) -> float:
    """The share of wrong answers, in [0, 1]."""
    return 1 - part["correct"] / part["count"]


def count_right(predictor: Predictor, source: Source, indices: np.ndarray, place_of_label: np.ndarray) -> dict:
    """{count, correct} over all hosts."""
    counts = np.zeros(2, np.int64)
    for probs, labels, _ in predictor.every_example(source, indices):
        counts += [len(labels), (rank_of_label(probs, place_of_label[labels]) <= 1).sum()]
    count, correct = sum_over_hosts(counts).tolist()
    if count != len(indices):
        raise RuntimeError(f"{count} of {len(indices)} examples were evaluated")
    return {"count": count, "correct": correct}


def check_parts(source: Source, known: set[str]) -> None:
    """Raises UserError unless a source is made of parts whose names begin with one of `known`."""
    parts: tuple[Part, ...] = getattr(source, "parts", ())
    names = list(dict.fromkeys(part.name.split("/")[0] for part in parts))
    if not names or not set(names) <= known:
        what = f"has the parts {name_some(names)}" if names else "has no parts"
        raise UserError(
            f"{source.name} {what}, and this evaluation needs {name_some(sorted(known))}: name a source of them, as "
            "corrupted:28:mnist5k:test or perturbed:28:mnist5k:test"
        )


def name_some(names: list[str]) -> str:
    """The first names, and whether there are more."""
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")


def read_baseline(baseline: str, source: Source, key: str, alexnet: dict) -> dict | None:
    """The numbers of the model by which results are divided; None for none.

    Args:
      baseline: the option, see `evaluate`.
      source: that is evaluated.
      key: of the numbers in a result.
      alexnet: those of AlexNet.

    Raises:
      UserError: it is no result of such an evaluation, or of another source.
    """
    if not baseline:
        return None
    if baseline == ALEXNET:
        return alexnet
    path = epath.Path(os.path.expanduser(baseline))
    if not path.is_file():
        raise UserError(
            f"baseline={baseline}: there is no such file; it is '', {ALEXNET!r}, or a result of evaluations"
        )
    result = read_json(path)
    if not isinstance(result, dict) or not isinstance(result.get(key), dict):
        raise UserError(f"baseline={baseline} has no {key}: name the result of the same evaluation of another model")
    if result.get("test") != source.name:
        raise UserError(f"baseline={baseline} is of {result.get('test')}, and this evaluation of {source.name}")
    return result[key]
