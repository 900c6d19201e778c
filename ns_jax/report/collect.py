"""What a run folder holds, as plain dictionaries and arrays."""

import dataclasses

import numpy as np
from etils import epath

from ns_jax.experiment.chain import iterations
from ns_jax.experiment.saved import load_config
from ns_jax.files import read_json
from ns_jax.pseudo_labels.store import LabelStore, Selection


@dataclasses.dataclass(frozen=True)
class CollectedLabels:
    """The pseudo-labels of an iteration and what was selected of them.

    Attributes:
      ids: byte strings [N].
      label: int32 [N], most probable class.
      confidence: float32 [N], its probability.
      class_names: in the order of the labels.
      selection: manifest of the selection.
    """

    ids: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    class_names: list[str]
    selection: dict


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
    manifest = store.manifest()
    shards = [store.read_shard(shard) for shard in range(len(manifest["ranges"]))]
    column = lambda field: np.concatenate([shard[field] for shard in shards])
    return CollectedLabels(
        column("id"), column("label"), column("confidence"), manifest["class_names"], selection.manifest()
    )
