"""Which iteration's model a run keeps, by validation, and what to say of a student that is not better than its teacher.

WORKDIR/choice.json: {iteration, model, by, values, warnings}. `ns_jax.load(WORKDIR)` opens that model.
"""

import dataclasses

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ns_jax.experiment.chain import iterations
from ns_jax.experiment.saved import load_config
from ns_jax.files import write_json
from ns_jax.pseudo_labels.store import Selection
from ns_jax.report.curves import read_scalars
from ns_jax.report.progress import say
from ns_jax.run.validation import Validated, read_validated

# Beyond these, a cause is called likely.
TEMPERATURES = (0.67, 1.5)  # of a teacher whose confidence may be used as it is
SHARES_APART = 0.15  # of pseudo-labels and trained-on images: half the sum of the differences of their classes' shares
FEW_IMAGES = 10  # selected images of a class
LOW_AGREEMENT = 0.75  # of a noised student with its pseudo-labels
STILL_RISING = 0.02  # of that agreement in the last quarter of training


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An iteration that was validated.

    Attributes:
      name: '' where there is no chain.
      config: of the iteration.
      folder: of the iteration.
      validated: its answers.
      teacher: the candidate that taught it, or None.
    """

    name: str
    config: ConfigDict
    folder: epath.Path
    validated: Validated
    teacher: "Candidate | None"

    @property
    def cross_entropy(self) -> float:
        return float(self.validated.cross_entropies.mean())


def choose_iteration(workdir: epath.Path) -> None:
    """Writes choice.json, and says what it holds; does nothing in a run without validation."""
    candidates = read_candidates(workdir)
    if not candidates:
        return
    best = min(candidates, key=lambda candidate: candidate.cross_entropy)
    warnings = [warning for candidate in candidates if (warning := describe_loss(candidate))]
    tuned = "finetune/" if best.config.finetune.epochs else ""
    by, values = "cross-entropy on validation, calibrated", {each.name: each.cross_entropy for each in candidates}
    choice = {
        "iteration": best.name,
        "model": f"{best.name}/{tuned}model".removeprefix("/"),
        "by": by,
        "values": values,
        "warnings": warnings,
    }
    write_json(workdir / "choice.json", choice)
    for warning in warnings:
        say(f"warning: {warning}")
    if len(candidates) > 1:
        compared = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        say(f"the best model on validation is that of {best.name} ({by}: {compared})")


def read_candidates(workdir: epath.Path) -> list[Candidate]:
    """The validated iterations of a run, in order."""
    candidates: list[Candidate] = []
    for name, config in iterations(load_config(workdir / "config.json")):
        folder = workdir / name if name else workdir
        validated = read_validated(folder)
        if validated is not None:
            teacher = candidates[-1] if candidates and config.data.unlabeled else None
            candidates.append(Candidate(name, config, folder, validated, teacher))
    return candidates


def describe_loss(student: Candidate) -> str:
    """A sentence on a student that is not better than its teacher on validation, with likely reasons; else ''."""
    if student.teacher is None:
        return ""
    gain, error = paired_gain(student.teacher.validated, student.validated)
    if gain > 0:
        return ""
    count = len(student.validated.predictions.labels)
    clearly = "worse" if gain < -2 * error else "not better"
    reasons = likely_reasons(student) or [
        f"none of the usual ones; {count} validation images tell differences of {2 * error:.2f}"
    ]
    return (
        f"{student.name} is {clearly} than its teacher {student.teacher.name} on {count} validation images "
        f"(cross-entropy {student.cross_entropy:.3f} against {student.teacher.cross_entropy:.3f}, difference "
        f"{-gain:+.3f} +- {error:.3f}). Likely reasons: {'; '.join(reasons)}"
    )


def paired_gain(teacher: Validated, student: Validated) -> tuple[float, float]:
    """How much lower the student's cross-entropy is on the same images, and the standard error of that mean."""
    order = lambda validated: np.argsort(validated.predictions.ids, kind="stable")
    gains = teacher.cross_entropies[order(teacher)] - student.cross_entropies[order(student)]
    return float(gains.mean()), float(gains.std() / np.sqrt(len(gains)))


def likely_reasons(student: Candidate) -> list[str]:
    """What in a student's run is known to make students worse, with what to change; [] where nothing stands out."""
    config, reasons, (low, high) = student.config, [], TEMPERATURES
    temperature = student.teacher.validated.temperature if student.teacher else 1.0
    if not config.calibrate and not low < temperature < high:
        kind = "too sure" if temperature > 1 else "not sure enough"
        reasons.append(f"its teacher is {kind} (temperature {temperature:.2f}): calibrate=True")
    if Selection(student.folder / "selection").is_complete():
        reasons += _reasons_of_selection(Selection(student.folder / "selection").manifest(), config)
    return reasons + _reasons_of_training(student.folder)


def _reasons_of_selection(manifest: dict, config: ConfigDict) -> list[str]:
    names = manifest["class_names"]
    counts = manifest["per_class_after"]
    before, after = (np.divide(manifest[key], sum(manifest[key])) for key in ("per_class_before", "per_class_after"))
    reasons, apart = [], np.abs(before - after)
    if apart.sum() / 2 > SHARES_APART:
        worst = int(apart.argmax())
        reasons.append(
            f"selection changed the classes' shares ({names[worst]}: {100 * before[worst]:.0f} % of the "
            f"pseudo-labels, {100 * after[worst]:.0f} % of what is trained on): "
            + ("balance='prior'" if config.images_per_class else "lower min_confidence")
        )
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW_IMAGES]
    if few:
        reasons.append(f"few pseudo-labels of {', '.join(few[:5])}: lower min_confidence, or label more of them")
    return reasons


def _reasons_of_training(folder: epath.Path) -> list[str]:
    _, values = read_scalars(folder / "logs").get("teacher_agreement", (None, np.empty(0)))
    if not len(values):
        return []
    last = float(values[-1])
    if last >= LOW_AGREEMENT:
        return []
    earlier = float(values[max(0, len(values) - 1 - max(1, len(values) // 4))])
    if last - earlier > STILL_RISING:
        return [f"it trains too short (agreement with its pseudo-labels {100 * last:.0f} %, rising): train_epochs"]
    return [
        f"the noise is too strong (agreement with its pseudo-labels {100 * last:.0f} %): fewer or milder operations in "
        "augment, or a lower noise.randaugment_magnitude"
    ]
