"""What a run folder holds, as plain dictionaries and arrays."""

import dataclasses

import numpy as np
from etils import epath

from ns_jax.experiment.chain import iterations
from ns_jax.experiment.saved import load_config
from ns_jax.files import read_json
from ns_jax.pseudo_labels.chunks import read_labels
from ns_jax.pseudo_labels.joined import ids_of
from ns_jax.pseudo_labels.selecting import SAMPLES, read_samples
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.pseudo_labels.survey import survey


@dataclasses.dataclass(frozen=True)
class CollectedLabels:
    """The pseudo-labels of an iteration and what was selected of them.

    Attributes:
      class_names: in the order of the labels.
      selection: manifest of the selection.
      count: pseudo-labels.
      histogram: int64 [50], of their confidence in `ns_jax.pseudo_labels.survey.BINS`.
      mean_confidence: of all; NaN where there are none.
      samples: {kind: (records, ids)} of some images, see `ns_jax.pseudo_labels.survey.Survey`.
    """

    class_names: list[str]
    selection: dict
    count: int
    histogram: np.ndarray
    mean_confidence: float
    samples: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class CollectedIteration:
    """What an iteration has made so far.

    Attributes:
      name: '' where the run has no chain.
      unlabeled: its unlabeled data source; empty for supervised training.
      data_dir: where TFDS keeps its data sets.
      exif_orientation: whether images are turned as their EXIF data say.
      min_confidence: threshold of its filter.
      evaluations: {name: result}, those that are there.
      labels: None where it has no stored pseudo-labels yet.
      exclude: {file, sha256, count, against, distance} of the unlabeled images that it leaves out, see
        ns_jax/run/inputs.py; None where duplicates were not looked for.
    """

    name: str
    unlabeled: str
    data_dir: str
    exif_orientation: bool
    min_confidence: float
    evaluations: dict[str, dict]
    labels: CollectedLabels | None
    exclude: dict | None = None


def collect_run(workdir: epath.Path) -> list[CollectedIteration]:
    """Reads the iterations of a run, in order."""
    config = load_config(workdir / "config.json")
    collected = []
    for name, own_config in iterations(config):
        folder = workdir / name if name else workdir
        evaluations = {}
        for evaluation in own_config.evaluations:
            path = folder / "evaluations" / f"{evaluation}.json"
            if path.exists():
                evaluations[evaluation] = read_json(path)
        collected.append(
            CollectedIteration(
                name=name,
                unlabeled=own_config.data.unlabeled,
                data_dir=own_config.data.dir,
                exif_orientation=own_config.data.exif_orientation,
                min_confidence=own_config.min_confidence,
                evaluations=evaluations,
                labels=collect_labels(folder),
                exclude=collect_exclusion(folder),
            )
        )
    return collected


def collect_exclusion(folder: epath.Path) -> dict | None:
    """Reads which unlabeled images an iteration leaves out; None where it says nothing of them."""
    record = folder / "data" / "unlabeled.json"
    return read_json(record).get("exclude") if record.exists() else None


def collect_labels(folder: epath.Path) -> CollectedLabels | None:
    """Reads labels and selection of an iteration's folder; None where they are not complete."""
    store, selection = LabelStore(folder / "labels"), Selection(folder / "selection")
    if not (store.is_complete() and selection.is_complete()):
        return None
    selected = selection.manifest("per_class_before", "per_class_after")
    if "confidence_histogram" in selected and (selection.folder / SAMPLES).exists():
        histogram, total = np.array(selected["confidence_histogram"]), selected["sum_of_confidence"]
        samples, count = read_samples(selection), selected["pseudo_labels"]
    else:  # of an earlier version: the labels are looked through here
        seen = survey(read_labels(store, 0))
        histogram, total, count = seen.histogram, float(seen.confidence), int(seen.per_class.sum())
        samples = {kind: (records, ids_of(store, records["index"])) for kind, records in seen.samples.items()}
    mean = total / count if count else float("nan")
    return CollectedLabels(store.manifest("class_names")["class_names"], selected, count, histogram, mean, samples)
