"""The table of stages: their order, when they apply, what they check, run and plan."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.registry import Registry, require_attributes
from ns_jax.run.iteration import Iteration


def always(config: ConfigDict, has_teacher: bool) -> bool:
    return True


def nothing(*_: Any) -> list:
    return []


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of an iteration. What it has written it finds again, and it does only what is missing.

    Attributes:
      run: does the work; all hosts call it together.
      applies: (config, whether there is a teacher) to whether an iteration has this stage.
      check: raises UserError for what would stop the stage, before the first stage of the run starts.
      programs: (config, mesh, counts, teacher) to the compiled programs that the stage runs (`ns_jax.plan`).
      help: does a part of the work beside the run that holds the workdir, and returns whether that has begun it; None:
        the stage cannot be helped.
    """

    run: Callable[[Iteration], None]
    applies: Callable[[ConfigDict, bool], bool] = always
    check: Callable[[Iteration], object] = nothing
    programs: Callable[..., list] = nothing
    help: Callable[[Iteration], bool] | None = None


STAGES = Registry(
    "stage",
    {
        "label": "ns_jax.stages.label:STAGE",
        "select": "ns_jax.stages.select:STAGE",
        "train": "ns_jax.stages.train:STAGE",
        "finetune": "ns_jax.stages.finetune:STAGE",
        "evaluate": "ns_jax.stages.evaluate:STAGE",
    },
)


def get_stage(name: str) -> Stage:
    """Returns the stage called `name`, or at an import path; a plain function (iteration) -> None is one, too.

    Raises:
      UserError: there is none, or it lacks a part of the contract (named).
    """
    entry = STAGES.get(name)
    if isinstance(entry, Stage):
        return entry
    if callable(entry) and not isinstance(entry, type):
        return Stage(entry)
    if isinstance(entry, type):
        raise UserError(f"stage {name!r} is a class: name a Stage, or a function that takes an Iteration")
    require_attributes(entry, ("run", "applies", "check", "programs"), "stage", name)
    return entry
