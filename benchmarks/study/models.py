"""The models of the study: what each row of an ablation needs, trained once however many rows share it."""

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
from etils import epath
from ml_collections import ConfigDict

from ns_jax.experiment.chain import iterations
from ns_jax.experiment.checks import validate
from ns_jax.experiment.fingerprint import fingerprint
from ns_jax.experiment.lock import locked
from ns_jax.experiment.workdir import claim_workdir
from ns_jax.run.orchestrate import make_plan, stages_of
from ns_jax.run.took import recorded

TEACHER = "@teacher"  # at the end of a row: the model that taught its first student
NOT_KEPT = ("checkpoints", "labels", "logs", "selection")  # of a model that is done


class Model(NamedTuple):
    """A model and those that it needs.

    Attributes:
      key: names what decides its result: its config and its teacher's key. Rows that need the same model share it.
      config: of its iteration, without a chain; the field `teacher` is filled in when it is trained.
      teacher: that labels its images; None for supervised training.
    """

    key: str
    config: ConfigDict
    teacher: "Model | None"

    def with_teachers(self) -> list["Model"]:
        """Its teachers, the first one first, then itself."""
        return [*(self.teacher.with_teachers() if self.teacher else ()), self]


def model_of(row: str, seed: int, labels: int, change: Callable[[ConfigDict], None] = lambda config: None) -> Model:
    """The model with which a row's run ends.

    Args:
      row: EXPERIMENT:ROW of configs/, with TEACHER at the end its first iteration.
      seed: of the run, and the draw of the labels.
      labels: of each class.
      change: changes the config of each iteration, for tests.
    """
    experiment, _, name = row.removesuffix(TEACHER).partition(":")
    config = importlib.import_module(f"ns_jax.configs.{experiment}").get_config(f"{name},fashion:{seed}:{labels}")
    config.seed = seed
    model = None
    for _, iteration in iterations(config):
        with iteration.unlocked():
            change(iteration)
            if not iteration.data.unlabeled:  # the ratio of the others, without meaning
                iteration.unlabeled_ratio = 0
        own = fingerprint(iteration)
        of_whom = f"{own}/{model.key}" if model and iteration.data.unlabeled else own
        key = hashlib.sha256(of_whom.encode()).hexdigest()[:16]
        model = Model(key, iteration, model if iteration.data.unlabeled else None)
        if row.endswith(TEACHER):
            break
    assert model is not None
    return model


def train(model: Model, folder: Path, overrides: Mapping[str, object]) -> dict:
    """Trains and evaluates a model whose teacher is trained, or goes on where an earlier start was ended.

    Args:
      model: what is trained.
      folder: where all models are, each in a folder that its key names.
      overrides: fields that do not decide the result, as data.dir.

    Returns:
      What is kept of it: top1 in %, number of test images, seconds by stage, pseudo-labels that were used.

    Raises:
      UserError: it cannot be trained.
    """
    workdir, config = folder / model.key, ConfigDict(model.config).copy_and_resolve_references()
    done = workdir / "result.json"
    if done.exists():
        return json.loads(done.read_text())
    with config.unlocked():
        config.teacher = str(folder / model.teacher.key / "model") if model.teacher else ""
        config.update_from_flattened_dict(dict(overrides))
    validate(config)
    path = epath.Path(workdir)
    with locked(path):
        claim_workdir(path, config)
        (iteration,) = make_plan(config, path)
        for _, stage in stages_of(iteration):
            stage.check(iteration)
        for name, stage in stages_of(iteration):
            with recorded(iteration.paths.folder, name):
                stage.run(iteration)
    test = json.loads((workdir / "evaluations" / "test.json").read_text())
    took = json.loads((workdir / "took.json").read_text())
    result = {
        "top1": 100 * test["top1"],
        "count": test["count"],
        "pseudo_labels_kept": test["pseudo_labels_kept"],
        "seconds": {stage: entry["seconds"] for stage, entry in took.items()},
    }
    done.write_text(json.dumps(result))
    for name in NOT_KEPT:
        shutil.rmtree(workdir / name, ignore_errors=True)
    jax.clear_caches()  # of programs: the next model has others
    return result
