"""What images that no iteration trains on say of a model: evaluations/validation.json, and predictions beside it."""

import dataclasses

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.evaluators.calibration import cross_entropies, fit_temperature
from ns_jax.evaluators.metrics import apply_temperature, classification_metrics
from ns_jax.evaluators.predictions import Predictions, read_predictions
from ns_jax.experiment.chain import VALIDATION
from ns_jax.files import read_json
from ns_jax.run.paths import IterationPaths


@dataclasses.dataclass(frozen=True)
class Validated:
    """A model's answers to validation images.

    Attributes:
      temperature: that fits them.
      predictions: as the model gives them, at temperature 1.
    """

    temperature: float
    predictions: Predictions

    @property
    def calibrated(self) -> np.ndarray:
        """Probabilities at the temperature, float32 [N, classes]."""
        return apply_temperature(self.predictions.probs, self.temperature)

    @property
    def cross_entropies(self) -> np.ndarray:
        """Of each image, calibrated, float64 [N]."""
        return cross_entropies(self.calibrated, self.predictions.labels)


def calibration_of(predictions: Predictions) -> dict:
    """Temperature and calibrated cross-entropy, for validation.json."""
    temperature = fit_temperature(predictions.probs, predictions.labels)
    after = Validated(temperature, predictions).cross_entropies.mean()
    return {"temperature": temperature, "cross_entropy_calibrated": float(after)}


def read_validated(folder: epath.Path) -> Validated | None:
    """The validation of the iteration in `folder`; None where there is none."""
    paths = IterationPaths(folder, folder)
    if not paths.evaluation(VALIDATION).exists():
        return None
    predictions = read_predictions(paths.predictions(VALIDATION))
    result = read_json(paths.evaluation(VALIDATION))
    if predictions is None or "temperature" not in result:
        return None
    return Validated(result["temperature"], predictions)


def pool_folds(folds: list[IterationPaths]) -> dict:
    """The result of all folds of cross-validation together, as an evaluation gives it.

    Raises:
      UserError: a fold has none yet.
    """
    parts = []
    for paths in folds:
        predictions = read_predictions(paths.predictions(VALIDATION))
        if predictions is None:
            raise UserError(f"{paths.predictions(VALIDATION)} is missing: run again without --stages")
        parts.append(predictions)
    join = lambda attribute: np.concatenate([getattr(part, attribute) for part in parts])
    pooled = Predictions(join("ids"), join("labels"), join("probs"), parts[0].class_names)
    correct = int((pooled.probs.argmax(1) == pooled.labels).sum())
    return {
        "count": len(pooled.labels),
        "correct": correct,
        "top1": correct / len(pooled.labels),
        "cross_entropy": float(cross_entropies(pooled.probs, pooled.labels).mean()),
        "folds": len(folds),
        **classification_metrics(pooled.probs, pooled.labels),
        "predictions": pooled,
    }


def folder_of_model(model: epath.Path) -> epath.Path:
    """The iteration's folder that a model lies in, as WORKDIR/iteration_1 of WORKDIR/iteration_1/finetune/model."""
    return model.parent.parent if model.parent.name == "finetune" else model.parent
