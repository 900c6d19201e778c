"""What the page is made of: a run folder, read once."""

import dataclasses
import functools

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ns_jax.evaluators.predictions import Predictions, read_predictions
from ns_jax.experiment.chain import VALIDATION, iterations
from ns_jax.experiment.saved import load_config
from ns_jax.files import read_json
from ns_jax.report.collect import CollectedIteration, collect_run
from ns_jax.report.curves import read_scalars

TEST = "test"  # name of the evaluation of the test set
CONTROL = "control"  # name of the iteration that is the supervised control


@dataclasses.dataclass(frozen=True)
class PageIteration:
    """An iteration as the page shows it.

    Attributes:
      name: of its folder, '' without a chain.
      title: for people: teacher, student 1, control.
      folder: of its files.
      config: its own, without a chain.
      collected: evaluations and pseudo-labels.
      measured_on: the evaluation that counts: test, or in a run without one validation.
    """

    name: str
    title: str
    folder: epath.Path
    config: ConfigDict
    collected: CollectedIteration
    measured_on: str = TEST

    @property
    def result(self) -> dict | None:
        """Result of the evaluation that counts; None where there is none, or where it is no classification."""
        result = self.collected.evaluations.get(self.measured_on)
        return result if result and "top1" in result else None

    @property
    def images(self) -> str:
        """What the images of that evaluation are called."""
        return f"{self.measured_on} images"

    def predictions(self, evaluation: str = "") -> Predictions | None:
        """Predictions of an evaluation, by default of the one that counts; None where they were not kept."""
        return _read_predictions(self.folder / "evaluations" / f"{evaluation or self.measured_on}.npz")

    def took(self) -> dict[str, dict]:
        """{stage: {seconds, peak_mib, finished}}."""
        path = self.folder / "took.json"
        return read_json(path) if path.exists() else {}

    def scalars(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Curves of the training, see `read_scalars`."""
        return read_scalars(self.folder / "logs")


@functools.lru_cache(maxsize=8)  # several sections read the same ones
def _read_predictions(path: epath.Path) -> Predictions | None:
    return read_predictions(path)


@dataclasses.dataclass(frozen=True)
class PageRun:
    """A run as the page shows it.

    Attributes:
      workdir: its folder.
      config: of the whole run.
      iterations: in order, the control last.
      choice: content of choice.json; empty where nothing was chosen.
    """

    workdir: epath.Path
    config: ConfigDict
    iterations: list[PageIteration]
    choice: dict

    @property
    def measured_on(self) -> str:
        """Name of the evaluation that counts."""
        return self.iterations[-1].measured_on

    @property
    def students(self) -> list[PageIteration]:
        """Iterations with stored pseudo-labels."""
        return [iteration for iteration in self.iterations if iteration.collected.labels is not None]

    @property
    def tested(self) -> list[PageIteration]:
        """Iterations with a result of the evaluation that counts."""
        return [iteration for iteration in self.iterations if iteration.result is not None]

    @property
    def chosen(self) -> PageIteration | None:
        """The iteration that the run ends with: the chosen one, else the last that was tested."""
        named = [iteration for iteration in self.iterations if self.choice.get("iteration") == iteration.name]
        candidates = named or [iteration for iteration in self.tested if iteration.name != CONTROL]
        return candidates[-1] if candidates else None

    def teacher_of(self, iteration: PageIteration) -> PageIteration | None:
        """The iteration whose model labeled for another; None where it had no teacher, or one of another run."""
        if not iteration.config.data.unlabeled:
            return None
        place = self.iterations.index(iteration)
        return self.iterations[place - 1] if place else None

    @property
    def control(self) -> PageIteration | None:
        """The supervised control, where it was tested."""
        return next((iteration for iteration in self.tested if iteration.name == CONTROL), None)


def read_run(workdir: epath.Path) -> PageRun:
    """Reads a run folder. Raises UserError for a damaged file."""
    config, collected = load_config(workdir / "config.json"), collect_run(workdir)
    named = iterations(config)
    titles = iteration_titles([(name, bool(own.data.unlabeled)) for name, own in named])
    has_test = any("top1" in of_name.evaluations.get(TEST, {}) for of_name in collected)
    is_validated = any("top1" in of_name.evaluations.get(VALIDATION, {}) for of_name in collected)
    measured_on = VALIDATION if is_validated and not has_test else TEST
    shown = [
        PageIteration(name, title, workdir / name if name else workdir, own, of_name, measured_on)
        for (name, own), title, of_name in zip(named, titles, collected, strict=True)
    ]
    path = workdir / "choice.json"
    _read_predictions.cache_clear()
    return PageRun(workdir, config, shown, read_json(path) if path.exists() else {})


def iteration_titles(named: list[tuple[str, bool]]) -> list[str]:
    """What iterations are called for people, of (name, whether it has unlabeled images) each."""
    has_students = any(unlabeled for _, unlabeled in named)
    titles, students = [], 0
    for name, unlabeled in named:
        students += unlabeled
        if not name:
            titles.append("student" if unlabeled else "model")
        elif not name.startswith("iteration_"):
            titles.append(name.replace("_", " "))
        elif unlabeled:
            titles.append(f"student {students}")
        else:
            titles.append("teacher" if has_students else name.replace("_", " "))
    return titles
