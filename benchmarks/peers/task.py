"""What every peer is given: the same images and labels, and how many images may pass through its network in training.

It travels as a folder with two files, so that an interpreter without jax and TensorFlow can read it.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.contestants import task as contest


@dataclasses.dataclass(frozen=True)
class Task:
    """A semi-supervised task.

    Attributes:
      name: as 'digits' or 'fashion:3:10'.
      seed: of initial weights, order and noise.
      num_classes: length of the logits.
      labeled_batch, ratio: labeled images of a step, and unlabeled ones for each of them.
      images: that pass forward through the network while it is trained, each view counted; all steps together.
      flip: whether an image may be mirrored.
      threads: cores.
      network: the small EfficientNet, as the contest of speeds describes it.
    """

    name: str
    seed: int
    num_classes: int
    labeled_batch: int
    ratio: int
    images: int
    flip: bool
    threads: int
    network: contest.Task

    def steps(self, images_per_step: int) -> int:
        """How many steps of so many images may be made."""
        return max(1, self.images // images_per_step)


class Images(dict):
    """Arrays: labeled_images, unlabeled_images, test_images, uint8 [N, 28, 28, 3]; labeled_labels, test_labels,
    int64 [N].
    """


def write(folder: Path, task: Task, images: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "images.npz", **images)
    (folder / "task.json").write_text(json.dumps(dataclasses.asdict(task)))


def read(folder: Path) -> tuple[Task, Images]:
    """A task and its images, as `write` has left them."""
    values = json.loads((folder / "task.json").read_text())
    network = contest.Task.from_text(json.dumps(values.pop("network")))
    with np.load(folder / "images.npz") as arrays:
        return Task(**values, network=network), Images(arrays)


RESULT = "peer "  # before what a peer reports


def report(name: str, accuracy: float, seconds: float, images: int) -> None:
    """Prints the result of a peer, a line of JSON; `accuracy` in %, `images` that passed in training."""
    print(RESULT + json.dumps({"method": name, "top1": accuracy, "seconds": seconds, "images": images}), flush=True)


def accuracy(answers: np.ndarray, images: Images) -> float:
    """Share of right answers on the test images, in %."""
    return 100 * float(np.mean(answers == images["test_labels"]))


def timed(work: Callable):
    """(what `work` returns, seconds that it took)."""
    started_at = time.perf_counter()
    return work(), time.perf_counter() - started_at
