"""Flips of the answer between slightly different frames: ImageNet-P, or the same of any images.

Sources imagenet_p: and perturbed:.
"""

import jax
import numpy as np

from ns_jax.data.corruptions.sequences import PERTURBATIONS
from ns_jax.data.sources.base import Part, Source
from ns_jax.evaluators.corruptions import check_parts, name_some, read_baseline
from ns_jax.evaluators.parts import IncompleteError, Parts, checks_source, in_parts
from ns_jax.evaluators.robustness import ALEXNET_FLIPS, TOP, are_flips, relative_mean, top5_distances
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import sum_over_hosts

FRAMES_AT_ONCE = 200_000  # whose answers are in memory together, on each host


@in_parts
@checks_source(lambda source: check_parts(source, set(PERTURBATIONS)))
def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options, parts: Parts) -> dict:
    """Shows the model every frame once, whole (they are cut already).

    Args:
      predictor: of the model.
      source: in parts, one a perturbation; labels do not matter.
      indices: of its readable examples; a sequence with an unreadable frame is left out.
      options: `baseline`: '' for none, 'alexnet', or the result file of another model's evaluation of the same source.
      parts: those that are finished.

    Returns:
      {count (sequences), skipped_sequences, flips {perturbation: probability}, mean_flips, top5_distances
      {perturbation: distance}, mean_top5_distance, and with a baseline mfr, in percent, and baseline}.

    Raises:
      IncompleteError: a perturbation is missing; the others are in their parts.
      UserError: the source has other parts, or see `read_baseline`.
    """
    check_parts(source, set(PERTURBATIONS))
    baseline = read_baseline(options["baseline"], source, "flips", ALEXNET_FLIPS)
    whole, measured = predictor.without_crop(), {}
    for part in source.parts:
        measured[part.name] = parts.get(part.name, lambda part=part: measure_part(whole, source, indices, part))
    missing = [name for name in PERTURBATIONS if not measured.get(name, {}).get("count")]
    if missing:
        raise IncompleteError(
            f"{source.name} lacks {len(missing)} of {len(PERTURBATIONS)} perturbations, {name_some(missing)}: there is "
            f"no mean over fewer; the others are measured, in {parts.folder}"
        )
    flips = {name: measured[name]["flips"] for name in PERTURBATIONS}
    distances = {name: measured[name]["top5_distance"] for name in PERTURBATIONS}
    result = {
        "count": sum(part["count"] for part in measured.values()),
        "skipped_sequences": sum(part["skipped_sequences"] for part in measured.values()),
        "flips": flips,
        "mean_flips": float(np.mean(list(flips.values()))),
        "top5_distances": distances,
        "mean_top5_distance": float(np.mean(list(distances.values()))),
    }
    if baseline is not None:
        result |= {"mfr": relative_mean(flips, baseline, "flip probability"), "baseline": options["baseline"]}
    return result


def measure_part(predictor: Predictor, source: Source, indices: np.ndarray, part: Part) -> dict:
    """{count, skipped_sequences, flips, top5_distance} of one perturbation, over all hosts."""
    own = indices[(indices >= part.start) & (indices < part.stop)]
    of_sequence, counts = np.unique((own - part.start) // part.frames, return_counts=True)
    sequences = of_sequence[counts == part.frames]
    total = (part.stop - part.start) // part.frames
    per_round = max(1, FRAMES_AT_ONCE // part.frames) * jax.process_count()
    sums = np.zeros(3, np.int64)  # sequences, flips, distances: whole numbers, so that their order does not matter
    for first in range(0, len(sequences), per_round):
        ranked = rank_frames(predictor, source, sequences[first : first + per_round], part)
        flips, distances = are_flips(ranked[:, :, 0], part.name), top5_distances(ranked, part.name)
        sums += [len(ranked), flips.sum(), distances.sum()]
    count, flips, distance = sum_over_hosts(sums).tolist()
    if count != len(sequences):
        raise RuntimeError(f"{count} of {len(sequences)} sequences were evaluated")
    pairs = max(1, count * (part.frames - 1))
    return {
        "count": count,
        "skipped_sequences": total - count,
        "flips": flips / pairs,
        "top5_distance": distance / pairs,
    }


def rank_frames(predictor: Predictor, source: Source, sequences: np.ndarray, part: Part) -> np.ndarray:
    """The best classes of every frame of this host's share of some sequences: int64 [n, frames, k]."""
    hosts, top = jax.process_count(), min(TOP, len(predictor.class_names))
    own = sequences[jax.process_index() :: hosts]
    frames = (part.start + own[:, None] * part.frames + np.arange(part.frames)).ravel()
    num_batches = predictor.num_batches(-(-len(sequences) // hosts) * part.frames)
    ranked = np.zeros((len(frames), top), np.int64)
    place = 0
    for probs, _, _ in predictor(source, frames, num_batches):  # in the order of `frames`
        ranked[place : place + len(probs)] = np.argsort(-probs, axis=1, kind="stable")[:, :top]
        place += len(probs)
    return ranked.reshape(len(own), part.frames, top)
