"""One iteration: what its stages are given."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import UserError
from ns_jax.experiment.fingerprint import made_by
from ns_jax.parallel.hosts import is_process_zero
from ns_jax.report.progress import say
from ns_jax.run.inputs import Holdout, Inputs
from ns_jax.run.paths import IterationPaths


def has_stored_labels(config: ConfigDict, has_teacher: bool) -> bool:
    """Whether a teacher's labels are stored and selected before training."""
    return has_teacher and not config.online_teacher


@dataclasses.dataclass(frozen=True)
class Iteration:
    """The parts of an iteration. A stage takes those that it needs and hands values on.

    Attributes:
      name: as 'iteration_2', or '' where the config has no chain.
      config: resolved, without a chain.
      paths: what it writes, and where.
      inputs: its data sets.
      teacher: folder of the teacher's artifact; None for supervised training.
      selection_from: folder with the selection that is kept; None where the teacher's own labels decide.
      mesh: all devices.
      fingerprints: of the config, see `experiment/fingerprint.py`: what it writes carries the first, and what it
        finds must carry one of them.
      folds: paths of the same iteration in each fold of cross-validation; () where there are none.
    """

    name: str
    config: ConfigDict
    paths: IterationPaths
    inputs: Inputs
    teacher: epath.Path | None
    selection_from: epath.Path | None
    mesh: Any
    fingerprints: tuple[str, ...]
    folds: tuple[IterationPaths, ...] = ()

    @property
    def has_stored_labels(self) -> bool:
        """Whether its teacher's labels are stored and selected before training."""
        return has_stored_labels(self.config, self.teacher is not None)

    def require_own(self, what: str, recorded: Mapping[str, Any], key: str, advice: str) -> None:
        """Raises UserError where `what`, a file or folder that was there, says that another config made it."""
        if not made_by(recorded, key, self.fingerprints):
            raise UserError(f"{what} was made by another config than this run has: {advice}")

    @property
    def result(self) -> epath.Path:
        """Artifact with which this iteration ends: the fine-tuned model where there is fine-tuning."""
        return self.paths.finetune.model if self.config.finetune.epochs else self.paths.model

    def title(self, stage: str) -> str:
        return f"{self.name} {stage}".strip()

    def say(self, stage: str, line: str) -> None:
        """Prints a line, on process 0 only."""
        if is_process_zero():
            say(f"{self.title(stage)}: {line}")


def make_iteration(
    name: str,
    config: ConfigDict,
    workdir: epath.Path,
    teacher: epath.Path | None,
    selection_from: epath.Path | None,
    mesh: Any,
    fingerprints: tuple[str, ...],
    opened: OpenSources,
    may_join: str = "",
    fold: int | None = None,
) -> Iteration:
    """The iteration called `name` of the run in `workdir`.

    Args:
      name: see `Iteration`, as for teacher, selection_from, mesh and fingerprints.
      config: its own, without a chain.
      workdir: of the run.
      opened: the run's open sources.
      may_join: see `Inputs`.
      fold: part of the labeled images without which it is trained, of cross-validation; None: not for that.
    """
    paths, data = _paths(workdir, name, fold), config.data
    folds = () if fold is not None else tuple(_paths(workdir, name, part) for part in range(config.validation_folds))
    sources = {"labeled": data.labeled, "unlabeled": data.unlabeled, "test": data.test}
    if data.validation:
        sources["validation"] = data.validation
    inputs = Inputs(
        paths,
        sources,
        opened,
        max_broken_fraction=data.max_broken_fraction,
        exclude=data.exclude,
        exif_orientation=data.exif_orientation,
        corrections=data.corrections,
        may_join=may_join,
        holdout=_holdout(config, fold),
    )
    if fold is not None:
        name = f"fold {fold + 1} of {config.validation_folds} {name}".strip()
    return Iteration(name, config, paths, inputs, teacher, selection_from, mesh, fingerprints, folds)


def _paths(workdir: epath.Path, name: str, fold: int | None) -> IterationPaths:
    folder = workdir if fold is None else workdir / "folds" / str(fold)
    return IterationPaths(workdir, folder / name if name else folder)


def _holdout(config: ConfigDict, fold: int | None) -> Holdout | None:
    """The labeled images that an iteration does not train on, but is validated on."""
    if fold is not None:
        return Holdout(config.validation_folds, fold, config.seed)
    if config.validation_fraction:
        return Holdout(max(2, round(1 / config.validation_fraction)), 0, config.seed)
    return None
