"""Which unlabeled images to label next: those of which a model is least sure, over its classes and over look-alikes."""

import numpy as np
from etils import epath
from sklearn.cluster import MiniBatchKMeans

from ns_jax.errors import UserError
from ns_jax.experiment.saved import read_saved
from ns_jax.inference.model import load
from ns_jax.report.collect import CollectedIteration
from ns_jax.report.images import Album
from ns_jax.report.label_next import choose, read_candidates, write_label_next
from ns_jax.report.page.run_data import read_run
from ns_jax.report.progress import say

MAX_CLUSTERED = 20_000  # images of which features are computed
MAX_CLUSTERS, SEED = 32, 0
BATCH = 32


def label_next(workdir, count: int = 100) -> tuple[int, bool]:
    """Writes label_next.csv and label_next.html into the report of a run.

    Args:
      workdir: of the run.
      count: images to choose.

    Returns:
      How many were chosen, and whether clusters of features had a part in it: they have up to 20,000 images, where
      the source of the unlabeled images can be opened and the model has pooled features.

    Raises:
      UserError: the folder is no run, or has no stored pseudo-labels.
    """
    run = read_run(epath.Path(workdir))
    candidates = read_candidates(run)
    cluster = None
    if len(candidates.ids) < MAX_CLUSTERED:
        try:
            collected = candidates.student.collected
            features = pooled_features(model_folder(run), collected, candidates.ids)
            cluster = clusters(features, count)
        except UserError as error:
            say(f"label_next: balanced over classes only: {error}")
    places = np.zeros(len(candidates.ids), np.int64) if cluster is None else cluster
    chosen = choose(candidates.entropy, candidates.label, places, count)
    write_label_next(run, candidates, chosen, cluster)
    return len(chosen), cluster is not None


def model_folder(run) -> str:
    """Folder of the model that the run ends with."""
    chosen = run.chosen or run.iterations[-1]
    return str(
        run.workdir / (run.choice.get("model") or read_saved(run.workdir / "config.json")["results"][chosen.name])
    )


def pooled_features(model: str, collected: CollectedIteration, ids: np.ndarray) -> np.ndarray:
    """Features of an iteration's unlabeled images `ids`, float32 [N, C].

    Raises:
      UserError: the source or the model cannot be opened, or it has no pooled features.
    """
    album, opened = Album(collected.unlabeled, collected.data_dir, collected.exif_orientation), load(model)
    indices = album.indices(ids)
    parts = []
    for start in range(0, len(indices), BATCH):
        images = [opened.preprocess(album.load(int(index))) for index in indices[start : start + BATCH]]
        parts.append(opened.features(np.stack(images)))
    return np.concatenate(parts)


def clusters(features: np.ndarray, count: int) -> np.ndarray:
    """The cluster of each image, int [N]: k-means of features of length 1, at most 32 clusters."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    number = max(1, min(MAX_CLUSTERS, count, len(features)))
    kmeans = MiniBatchKMeans(number, random_state=SEED, n_init=3)
    return kmeans.fit_predict(features / np.maximum(lengths, 1e-12))
