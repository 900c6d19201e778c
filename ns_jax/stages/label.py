"""Stage 'label': the un-noised teacher's probabilities of every unlabeled image, shard by shard."""

import jax
import numpy as np

from ns_jax.artifact.weights import load_artifact
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import barrier, is_lead, on_lead
from ns_jax.pseudo_labels.store import LabelStore, make_records, shard_ranges
from ns_jax.report.progress import StageProgress
from ns_jax.run.iteration import Iteration


def label_store(iteration: Iteration) -> LabelStore:
    return LabelStore(iteration.workdir / "labels")


def run(iteration: Iteration) -> None:
    """Labels the shards that are not labeled yet, and then writes the manifest."""
    store = label_store(iteration)
    teacher = load_artifact(iteration.teacher)
    if store.is_complete():
        if store.manifest()["teacher"] != teacher.fingerprint:
            raise UserError(
                f"{store.folder} was labeled by another teacher than {iteration.teacher}: delete it to label again"
            )
        iteration.say("label", f"done before ({store.manifest()['count']} images)")
        return
    source = iteration.open("unlabeled")
    readable = iteration.readable(source)
    ranges = shard_ranges(source.count, iteration.config.label_shard_size)
    in_shard = [readable[slice(*np.searchsorted(readable, bounds))] for bounds in ranges]
    claim = {"teacher": teacher.fingerprint, "ranges": [list(bounds) for bounds in ranges]}
    on_lead(lambda: _check_claim(store, claim))

    missing = [shard for shard in range(len(ranges)) if not store.has_shard(shard)]
    barrier("label: all hosts have seen what is missing")
    predictor = Predictor(iteration, teacher, noised=iteration.config.noise.teacher)
    hosts = jax.process_count()
    rounds = [missing[i : i + hosts] for i in range(0, len(missing), hosts)]
    labeled = sum(len(in_shard[shard]) for shard in range(len(ranges)) if shard not in missing)
    with StageProgress(iteration.title("label"), len(readable), labeled, is_lead(), "images") as progress:
        for shards in rounds:  # one shard a host; all hosts run as many batches
            num_batches = max(predictor.num_batches(len(in_shard[shard])) for shard in shards)
            mine = shards[jax.process_index()] if jax.process_index() < len(shards) else None
            indices = in_shard[mine] if mine is not None else readable[:0]
            results = list(predictor(source, indices, num_batches))
            if mine is not None:
                probs = np.concatenate([result[0] for result in results])
                seen = np.concatenate([result[2] for result in results])
                if not np.array_equal(seen, indices):
                    raise RuntimeError(f"shard {mine}: {len(seen)} of {len(indices)} images came back")
                store.write_shard(mine, make_records(source.ids(indices), probs))
            labeled += sum(len(in_shard[shard]) for shard in shards)
            progress.update(labeled, "labeling")
    barrier("label: all shards are written")
    on_lead(
        lambda: _complete(
            store,
            in_shard,
            claim
            | {
                "source": source.name,
                "dtype": "float16",
                "class_names": list(teacher.card["class_names"]),
                "skipped": source.count - len(readable),
            },
        )
    )
    iteration.say(
        "label",
        f"{len(readable)} of {source.count} images labeled in {len(ranges)} files, "
        f"{source.count - len(readable)} could not be read",
    )


def _complete(store: LabelStore, in_shard: list, manifest: dict) -> None:
    """Writes the manifest if every shard holds as many pseudo-labels as it has images."""
    counts = [len(store.read_shard(shard)) for shard in range(len(in_shard))]
    for shard, (count, indices) in enumerate(zip(counts, in_shard, strict=True)):
        if count != len(indices):
            raise UserError(
                f"{store.shard_path(shard)} holds {count} pseudo-labels for {len(indices)} images; delete "
                "it and run the stage again"
            )
    store.write_manifest(manifest | {"counts": counts, "count": sum(counts)})


def _check_claim(store: LabelStore, claim: dict) -> None:
    """Shards of an interrupted run count only if the same teacher wrote them."""
    path = store.folder / "claim.json"
    if not path.exists():
        write_json(path, claim)
    elif read_json(path) != claim:
        raise UserError(f"{store.folder} was begun with another teacher or other images: delete it to label again")
