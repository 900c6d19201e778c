"""report/label_next.csv and .html: the unlabeled images that are worth a label most."""

import dataclasses

import numpy as np
from absl import logging

from ns_jax.artifact.class_names import readable_name
from ns_jax.artifact.metadata import has_artifact, read_metadata
from ns_jax.errors import UserError
from ns_jax.experiment.saved import read_saved
from ns_jax.files import write_bytes
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.report.images import Album, thumbnails
from ns_jax.report.labels import os_path, shard_rows, write_csv
from ns_jax.report.page.markup import Markup, paragraph
from ns_jax.report.page.run_data import PageIteration, PageRun
from ns_jax.report.page.sheets import sheet
from ns_jax.report.page.write import document

MAX_PICTURES = 500  # on the sheet


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Unlabeled images, and what a model says of them.

    Attributes:
      student: the iteration whose pseudo-labels they are.
      class_names: of the labels.
      ids: byte strings [N].
      label, runner_up: int [N], most and second most probable class.
      confidence, entropy: float [N], of the label, and in nats.
    """

    student: PageIteration
    class_names: list[str]
    ids: np.ndarray
    label: np.ndarray
    runner_up: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray


def read_candidates(run: PageRun) -> Candidates:
    """The pseudo-labels that the chosen model gave, or where it labeled for nobody those of the last student.

    Raises:
      UserError: the run has no stored pseudo-labels.
    """
    if not run.students:
        raise UserError(f"{run.workdir} has no stored pseudo-labels: nothing says which images are hard")
    student = next((each for each in run.students if _labeled_by_chosen(run, each)), run.students[-1])
    shards = list(shard_rows(student.folder))
    columns = {key: np.concatenate([shard[key] for shard in shards]) for key in shards[0]}
    return Candidates(
        student,
        student.collected.labels.class_names,
        columns["id"],
        columns["label"],
        columns["runner_up"],
        columns["confidence"],
        columns["entropy"],
    )


def _labeled_by_chosen(run: PageRun, student: PageIteration) -> bool:
    if run.chosen is None:
        return False
    results = read_saved(run.workdir / "config.json")["results"]
    model = run.workdir / results[run.chosen.name]
    if not has_artifact(model):
        return False
    teacher = LabelStore(student.folder / "labels").manifest().get("teacher")
    return read_metadata(model)["fingerprint"] == teacher


def choose(entropy: np.ndarray, label: np.ndarray, cluster: np.ndarray, count: int) -> np.ndarray:
    """Chooses the least sure images, as many of each class as there are, and within a class of each cluster in turn.

    Args:
      entropy: float [N], the higher the less sure.
      label: int [N], predicted class.
      cluster: int [N], images that look alike; all 0 where that is not known.
      count: how many to choose.

    Returns:
      int64 [min(count, N)], in the order in which to label them.
    """
    in_cell = _rank_within(-entropy, label.astype(np.int64) * (cluster.max(initial=0) + 1) + cluster)
    order_in_class = np.lexsort((-entropy, in_cell))
    place = np.empty(len(entropy), np.int64)
    place[order_in_class] = np.arange(len(entropy))
    turn = _rank_within(place, label)
    return np.lexsort((-entropy, turn))[:count]


def _rank_within(key: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The place of each element among those of its group, by ascending key: int64 [N] from 0."""
    order = np.lexsort((key, group))
    ordered = group[order]
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key)) - np.searchsorted(ordered, ordered)
    return rank


def write_label_next(run: PageRun, candidates: Candidates, chosen: np.ndarray, cluster: np.ndarray | None) -> None:
    """Writes label_next.csv, and label_next.html with thumbnails where the source gives images.

    Args:
      run: the run.
      candidates: of it.
      chosen: int64 [M], places among them, first to label first.
      cluster: int [N], of every candidate; None where there are no clusters.
    """
    report, names = run.workdir / "report", candidates.class_names
    columns = {
        "path": [os_path(name) for name in candidates.ids[chosen].tolist()],
        "predicted": [names[k] for k in candidates.label[chosen]],
        "confidence": candidates.confidence[chosen],
        "runner_up": [names[k] for k in candidates.runner_up[chosen]],
        "entropy": candidates.entropy[chosen],
    }
    if cluster is not None:
        columns["cluster"] = cluster[chosen]
    write_csv(report / "label_next.csv", columns)
    write_bytes(report / "label_next.html", _page(candidates, chosen).encode())


def _page(candidates: Candidates, chosen: np.ndarray) -> str:
    shown, names, collected = chosen[:MAX_PICTURES], candidates.class_names, candidates.student.collected

    def line(place: int) -> tuple[str, ...]:
        label, second = (readable_name(names[k]) for k in (candidates.label[place], candidates.runner_up[place]))
        return (f"{label} {candidates.confidence[place]:.2f}", f"or {second}")

    try:
        pictures = thumbnails(
            Album(collected.unlabeled, collected.data_dir, collected.exif_orientation),
            candidates.ids[shown],
            [line(place) for place in shown],
        )
        body = sheet(f"{len(shown)} of {len(candidates.ids):,} unlabeled images, first to label first", pictures)
    except UserError as error:
        logging.warning("no pictures of what to label next: %s", error)
        body = paragraph(f"No pictures: {error}. The list is in label_next.csv.", class_="note")
    return document("Which images to label next", Markup(""), body)
