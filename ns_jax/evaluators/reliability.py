"""How far a model's probabilities can be believed: calibration errors, before and after a temperature."""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.calibration import cross_entropies, fit_temperature
from ns_jax.evaluators.classification import gather_predictions, labels_among
from ns_jax.evaluators.metrics import apply_temperature, brier_score, calibration_bins, expected_calibration_error
from ns_jax.inference.predictor import Predictor

MAX_PROBABILITIES = 100_000_000  # 400 MB: twice ImageNet's validation images
SPLIT_SEED = 0


def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options) -> dict:
    """Measures calibration.

    The temperature of an image is fitted on the other half of the images (drawn at random), so that no label is used
    on its own image.

    Args:
      predictor: of the model.
      source: labeled; its classes are some of the model's.
      indices: of its readable examples.
      options: `bins` of the calibration errors and the diagram.

    Returns:
      {count, accuracy, confidence (mean), ece, ece_equal_mass, nll, brier; temperature (mean of the two halves') and
      the same five with `_scaled`; bins {count, confidence, accuracy} of the reliability diagram, and bins_scaled}.

    Raises:
      UserError: the model lacks a class of the source, or there are more probabilities than fit into memory.
    """
    if len(indices) * len(predictor.class_names) > MAX_PROBABILITIES or len(indices) < 2:
        raise UserError(
            f"{source.name}: calibration is measured on 2 images to {MAX_PROBABILITIES:,} probabilities, not on "
            f"{len(indices)} images of {len(predictor.class_names)} classes: name a part of them"
        )
    place_of_label = labels_among(source, predictor.class_names)
    batches = [
        (probs, place_of_label[labels], places) for probs, labels, places in predictor.every_example(source, indices)
    ]
    predictions = gather_predictions(source, batches, predictor.class_names)
    probs, labels = predictions.probs, predictions.labels
    scaled, temperatures = scale_by_halves(probs, labels)
    raw, after = calibration(probs, labels, options["bins"]), calibration(scaled, labels, options["bins"])
    return {
        "count": len(labels),
        "accuracy": float((probs.argmax(1) == labels).mean()),
        **raw,
        "temperature": float(np.mean(temperatures)),
        **{f"{key}_scaled": value for key, value in after.items()},
    }


def scale_by_halves(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Probabilities by the temperature that fits the other half of the images; the two temperatures."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    scaled, temperatures = np.empty_like(probs), []
    for fitted_on, used_on in (halves, halves[::-1]):
        temperature = fit_temperature(probs[fitted_on], labels[fitted_on])
        scaled[used_on] = apply_temperature(probs[used_on], temperature)
        temperatures.append(temperature)
    return scaled, temperatures


def calibration(probs: np.ndarray, labels: np.ndarray, bins: int) -> dict:
    """{confidence, ece, ece_equal_mass, nll, brier, bins} of probabilities float32 [N, classes] and labels int [N]."""
    confidence, is_right = probs.max(1), probs.argmax(1) == labels
    equal_width = calibration_bins(confidence, is_right, bins)
    return {
        "confidence": float(confidence.mean(dtype=np.float64)),
        "ece": expected_calibration_error(equal_width),
        "ece_equal_mass": expected_calibration_error(equal_mass_bins(confidence, is_right, bins)),
        "nll": float(cross_entropies(probs, labels).mean()),
        "brier": brier_score(probs, labels),
        "bins": {key: values.tolist() for key, values in equal_width.items()},
    }


def equal_mass_bins(confidence: np.ndarray, correct: np.ndarray, bins: int) -> dict[str, np.ndarray]:
    """As `calibration_bins`, of images in order of confidence, in bins of as many images (Nguyen and O'Connor 2015)."""
    order = np.argsort(confidence, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    return {
        "count": np.array([len(group) for group in groups]),
        "confidence": np.array([confidence[group].mean(dtype=np.float64) for group in groups]),
        "accuracy": np.array([correct[group].mean() for group in groups]),
    }
