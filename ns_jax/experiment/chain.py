"""From a config to those of its iterations, and of the fine-tuning of each."""

import re
from collections.abc import Iterator

from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.experiment.checks import has_validation
from ns_jax.experiment.constraints import FOLDER_NAME
from ns_jax.experiment.evaluations import EVALUATION, options_of
from ns_jax.experiment.fields import FIELDS, unknown_field

# Names in a workdir that are not an iteration's.
TAKEN = ("choice.json", "compilation_cache", "config.json", "data", "folds", "logs", "report")
OF_THE_WHOLE_RUN = ("chain", "chain_order", "only_stages")


def iteration_names(config: ConfigDict) -> list[str]:
    """Returns the names of a config's iterations in order: [''] without a chain.

    The order is `chain_order`, or where that is empty the order of the numbers in which the names end. (A ConfigDict
    sorts its keys, and forgets in which order they were set.)

    Raises:
      UserError: no order can be told, `chain_order` has other names than `chain`, or a name is no folder's.
    """
    names = list(config.chain)
    for name in names:
        if not FOLDER_NAME.fullmatch(name) or name in TAKEN:
            raise UserError(f"chain: an iteration cannot be called {name!r}: it names a folder in the workdir")
    if config.chain_order:
        if sorted(config.chain_order) != sorted(names):
            order, have = ", ".join(config.chain_order), ", ".join(names) or "none"
            raise UserError(f"chain_order is {order}, and the iterations of chain are {have}: they must be the same")
        return list(config.chain_order)
    if len(names) < 2:
        return names or [""]
    numbers = {name: _number_at_end(name) for name in names}
    if None in numbers.values() or len(set(numbers.values())) < len(names):
        raise UserError(
            f"chain: the names {', '.join(names)} do not end in numbers of their own, which would say their order: "
            f"set chain_order, as chain_order=({', '.join(map(repr, names))})"
        )
    return sorted(names, key=lambda name: numbers[name] or 0)


def _number_at_end(name: str) -> int | None:
    """Returns 12 of 'iteration_12', None where there is no number."""
    ending = re.search(r"[0-9]+$", name)
    return int(ending[0]) if ending else None


def iterations(config: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """Returns (name, config) of each iteration in order; the configs have no chain, and all that they do not override.

    Raises:
      UserError: see `iteration_names`; or an iteration overrides a field that does not exist, or with another type.
    """
    resolved = []
    for name in iteration_names(config):
        iteration = ConfigDict(config).copy_and_resolve_references()
        iteration.lock()
        with iteration.unlocked():
            iteration.chain = ConfigDict()
            iteration.chain_order = ()
        if name:
            _override(iteration, config.chain[name], f"chain.{name}")
        if config.only_stages:
            iteration.stages = tuple(config.only_stages)
        _complete_evaluations(iteration)
        resolved.append((name, iteration))
    return resolved


def _override(iteration: ConfigDict, overrides: ConfigDict, where: str) -> None:
    """Updates `iteration`; new evaluations may be among the overrides."""
    if not isinstance(overrides, ConfigDict):
        raise UserError(f"{where} is {overrides!r}: it must be a dictionary of overrides, {{}} for none")
    for field in _leaves(overrides):
        if field.startswith("evaluations."):
            continue
        if field in OF_THE_WHOLE_RUN or field.startswith("chain."):
            raise UserError(f"{where}: {field} is of the whole run, and cannot be overridden in an iteration")
        if field not in FIELDS:
            raise UserError(f"{where}: {unknown_field(field)}")
    try:
        with iteration.unlocked():
            iteration.update(overrides)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Yields the full names of the values in nested configs."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


VALIDATION = "validation"  # name of the evaluation on images that choose


def _complete_evaluations(config: ConfigDict) -> None:
    """Gives every evaluation the fields that it leaves out, adds validation, and leaves out a test without data."""
    with config.evaluations.unlocked():
        if has_validation(config):
            config.evaluations[VALIDATION] = {"data": VALIDATION}
        if not config.data.test and "test" in config.evaluations and not config.evaluations.test.get("data"):
            del config.evaluations["test"]
    for name, evaluation in config.evaluations.items():
        if not isinstance(evaluation, ConfigDict):
            raise UserError(f"evaluations.{name} is {evaluation!r}: it must be a dictionary, {{}} for the defaults")
        with evaluation.unlocked():
            kind = evaluation.get("type", EVALUATION["type"][0])
            known = options_of(kind) if isinstance(kind, str) else EVALUATION
            for key, (default, _, _) in known.items():
                if key not in evaluation:
                    evaluation[key] = default


def finetune_config(config: ConfigDict, init_from: str) -> ConfigDict:
    """Returns the config of the supervised training that fine-tunes what `config` has trained.

    Paper section 3.1 (FixRes). Without a learning rate of its own it goes through the end of the schedule once more,
    as the official code does.

    Args:
      config: of an iteration, without a chain.
      init_from: folder of the model that the iteration has trained.
    """
    tune, tuning = config.finetune, ConfigDict(config).copy_and_resolve_references()
    with tuning.unlocked():
        tuning.update(
            {
                "train_epochs": tune.epochs,
                "schedule_start_epoch": config.train_epochs - tune.epochs,
                "train_on": "both",
                "augment": tune.augment,
                "frozen_blocks": tune.frozen_blocks,
                "init_from": init_from,
                "teacher": "",
                "data": {"unlabeled": ""},
                "labeled_sample_prob": 1.0,
            }
        )
        if tune.resolution:
            tuning.resolution = tuning.test_resolution = tune.resolution
        if tune.base_learning_rate:
            tuning.update(
                {
                    "base_learning_rate": tune.base_learning_rate,
                    "warmup_epochs": 0.0,
                    "schedule_start_epoch": 0.0,
                    "final_base_learning_rate": 0.0,
                }
            )
    return tuning


def only_stages(config: ConfigDict, stages: list[str]) -> None:
    """Gives every iteration of the config these stages, without a change of its own."""
    config.only_stages = tuple(stages)
