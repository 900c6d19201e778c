"""A stage of one's own: counts the pseudo-labels of each class."""

import numpy as np

from ns_jax.files import write_json
from ns_jax.parallel.hosts import on_process_zero
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.run.iteration import Iteration, has_stored_labels
from ns_jax.run.stages import Stage


def run(iteration: Iteration) -> None:
    """Writes label_counts.json, unless it is there."""
    path = iteration.paths.folder / "label_counts.json"
    if not path.exists():
        on_process_zero(lambda: write_json(path, count_labels(LabelStore(iteration.paths.labels))))
    iteration.say("count", f"{path} is written")


def count_labels(store: LabelStore) -> dict[str, int]:
    """{class name: its number of pseudo-labels}."""
    manifest = store.manifest()
    shards = [store.read_shard(shard) for shard in range(len(manifest["ranges"]))]
    counts = np.bincount(np.concatenate([shard["label"] for shard in shards]), minlength=len(manifest["class_names"]))
    return dict(zip(manifest["class_names"], counts.tolist(), strict=True))


# Named in a config as an entry of stages: 'tests.extending.own_stage:COUNT_LABELS'.
COUNT_LABELS = Stage(run, applies=has_stored_labels)
