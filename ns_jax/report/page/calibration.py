"""Whether the model is as sure as it should be."""

import numpy as np

from ns_jax.evaluators.metrics import apply_temperature, calibration_bins, expected_calibration_error
from ns_jax.evaluators.predictions import Predictions
from ns_jax.experiment.chain import VALIDATION
from ns_jax.report.page import charts
from ns_jax.report.page.markup import Markup, join, paragraph
from ns_jax.report.page.run_data import PageRun


def section(run: PageRun) -> Markup:
    """The reliability diagram of the chosen model, before and after calibration."""
    chosen = run.chosen
    predictions = chosen.predictions() if chosen else None
    if predictions is None:
        return Markup("")
    temperature = chosen.collected.evaluations.get(VALIDATION, {}).get("temperature")
    curves = {"as it is": bins_of(predictions, predictions.probs)}
    if temperature:
        curves["calibrated"] = bins_of(predictions, apply_temperature(predictions.probs, temperature))
    errors = {name: expected_calibration_error(bins) for name, bins in curves.items()}
    if temperature:
        text = (
            f"The validation images give a temperature of {temperature:.3g}. It takes the calibration error (ECE) on "
            f"the {chosen.images} from {errors['as it is']:.3f} to {errors['calibrated']:.3f}."
        )
    else:
        text = (
            f"The calibration error (ECE) on the {chosen.images} is {errors['as it is']:.3f}. Without "
            "validation images the probabilities are not calibrated."
        )
    diagram = charts.reliability(
        f"Reliability of {chosen.title} on the {chosen.images}; a dot is larger where it stands for more images", curves
    )
    sure = " and ".join(f"{100 * share:.0f} % {name}" for name, share in self_rated(curves).items())
    text += f" The mean confidence is {sure}; {100 * chosen.result['top1']:.0f} % of the answers are right."
    return join([paragraph(text), diagram])


def bins_of(predictions: Predictions, probs: np.ndarray) -> dict[str, np.ndarray]:
    return calibration_bins(probs.max(1), probs.argmax(1) == predictions.labels)


def self_rated(curves: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """Mean confidence of each."""
    return {
        name: float((bins["count"] * bins["confidence"]).sum() / bins["count"].sum()) for name, bins in curves.items()
    }
