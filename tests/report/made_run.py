"""A run folder made by hand: a teacher, a student and a control, with everything that a report can show."""

import json

import numpy as np
from etils import epath

from ns_jax.configs import mnist5k
from ns_jax.data.sources.registry import open_source
from ns_jax.evaluators.metrics import classification_metrics
from ns_jax.evaluators.predictions import Predictions, write_predictions
from ns_jax.experiment.saved import save_config
from ns_jax.files import write_json
from ns_jax.pseudo_labels.chunks import read_labels
from ns_jax.pseudo_labels.selecting import write_samples
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.pseudo_labels.survey import survey
from tests.data.sources.test_sources import write_image

CLASSES = ("cat", "dög & <b>bone</b>", "owl")
TEST, UNLABELED = 90, 60


def probabilities(labels: np.ndarray, strength: float, seed: int, classes: int = len(CLASSES)) -> np.ndarray:
    """Probabilities float32 [N, classes] of a model that is the better the larger its `strength`."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += strength
    powers = np.exp(2 * logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def write_evaluation(folder: epath.Path, name: str, iteration: str, source: str, predictions: Predictions, **more):
    """What the evaluate stage writes."""
    answers, count = predictions.probs.argmax(1), len(predictions.labels)
    correct = int((answers == predictions.labels).sum())
    ratio = 4 if iteration == "iteration_1" else 0
    result = {
        "evaluation": name, "type": "classification", "iteration": iteration, "paper_row": "", "test": source,
        "variant": "efficientnet-small", "count": count, "correct": correct, "top1": correct / count, "top5": 1.0,
        "unlabeled_ratio": ratio, "pseudo_labels": UNLABELED if ratio else 0, "pseudo_labels_kept": 40 if ratio else 0,
    }  # fmt: skip
    write_predictions(folder / "evaluations" / f"{name}.npz", predictions)
    result |= classification_metrics(predictions.probs, predictions.labels)
    write_json(folder / "evaluations" / f"{name}.json", result | more)


def make_run(folder, images) -> epath.Path:
    """Makes the run in `folder`, and its pictures in the folder `images`. Returns the run."""
    run, images = epath.Path(folder), epath.Path(images)
    labels = np.arange(TEST) % len(CLASSES)
    for number, label in enumerate(labels):
        write_image(images / "test" / f"{label} {CLASSES[label].replace('/', '')}" / f"é {number:03d}.png", number)
    for number in range(UNLABELED):
        write_image(images / "unlabeled" / f"{number:03d}.jpg", 4 * number, (30, 200))
    test, unlabeled = f"folder:{images / 'test'}", f"folder:{images / 'unlabeled'}"
    config = mnist5k.get_config("smoke")
    with config.unlocked():
        config.data.test = test
        config.chain.iteration_1.data = {"unlabeled": unlabeled}
        config.chain.control = {"data": {"unlabeled": ""}, "unlabeled_ratio": 0}
        config.chain_order = ("iteration_0", "iteration_1", "control")
        config.evaluations.validation = {"data": test}
    save_config(run / "config.json", config)

    ids, true = read_test(test)
    for number, (name, strength) in enumerate((("iteration_0", 0.8), ("iteration_1", 2.5), ("control", 1.0))):
        predictions = Predictions(ids, true, probabilities(true, strength, number), CLASSES)
        write_evaluation(run / name, "test", name, test, predictions)
        write_evaluation(run / name, "validation", name, test, predictions, temperature=1.7)
        stage = {"seconds": 75.0, "peak_mib": 1500.0, "finished": True}
        write_json(run / name / "took.json", {"train": stage, "evaluate": stage | {"seconds": 0.5}})
        (run / name / "logs").mkdir()
        lines = [{"step": step, "loss": 2.0 - step / 20, "accuracy": step / 20} for step in (4, 8, 12)]
        (run / name / "logs" / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_labels(run / "iteration_1", open_source(unlabeled).ids(np.arange(UNLABELED)))
    write_json(
        run / "choice.json",
        {
            "iteration": "iteration_1",
            "model": "iteration_1/model",
            "by": "validation cross-entropy",
            "values": {"iteration_0": 0.9, "iteration_1": 0.4},
            "warnings": ["the validation set is small: <90> images."],
        },
    )
    return run


def read_test(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids and labels of the test images."""
    opened = open_source(source)
    labels = [int(opened.load(np.int64(index))[1]) for index in range(opened.count)]
    return opened.ids(np.arange(opened.count)), np.array(labels, np.int32)


def write_labels(iteration: epath.Path, ids: np.ndarray) -> None:
    """Pseudo-labels in two shards, of which the selection kept two thirds."""
    probs = probabilities(np.arange(UNLABELED) % 2, 1.0, 7)
    store, selection = LabelStore(iteration / "labels"), Selection(iteration / "selection")
    ranges = [[0, 40], [40, UNLABELED]]
    for shard, (start, stop) in enumerate(ranges):
        store.write_labels(shard, ids[start:stop], probs[start:stop])
        selection.write_copies(shard, (np.arange(start, stop) % 3).astype(np.uint32))
    store.write_manifest({"ranges": ranges, "class_names": list(CLASSES), "teacher": "of the teacher"})
    seen = survey(read_labels(store, 0))
    write_samples(selection, seen, store)
    selection.write_manifest(
        {"class_names": list(CLASSES), "per_class_before": seen.per_class.tolist(), "per_class_after": [30, 30, 0],
         "pseudo_labels": UNLABELED, "kept": 40, "copies": 60, "confidence_histogram": seen.histogram.tolist(),
         "sum_of_confidence": float(seen.confidence)}
    )  # fmt: skip
