"""Whose a workdir is, and which iterations its run has."""

import re

from etils import epath
from ml_collections import ConfigDict

from ns_jax.buckets import explain
from ns_jax.errors import UserError
from ns_jax.experiment.chain import iterations
from ns_jax.experiment.fingerprint import deciding_fields, flatten
from ns_jax.experiment.saved import load_config, read_saved, save_config
from ns_jax.files import check_writable, read_json


def claim_workdir(workdir: epath.Path, config: ConfigDict) -> None:
    """Writes config.json into the workdir, or checks that the one there is of the same run.

    The same run may go on with other fields that do not decide the result, with other evaluations, and with more
    iterations at the end of its chain.

    Raises:
      UserError: it cannot be written, or belongs to another run; names the fields that differ.
    """
    path = workdir / "config.json"
    try:
        check_writable(path)
    except Exception as error:  # buckets raise many kinds
        if explained := explain(error, workdir):
            raise explained from None
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise UserError(f"{workdir} cannot be written ({reason}): choose another --workdir") from None
    if not path.exists():
        _refuse_results_without_config(workdir, config)
        save_config(path, config)
        return
    there = load_config(path)
    check_same_run(workdir, there, config)
    _check_evaluated(workdir, there, config)
    _add_what_is_new(path, there, config)


def check_same_run(workdir: epath.Path, there: ConfigDict, config: ConfigDict) -> None:
    """Raises UserError where `there`, the config of a workdir, is of another run (names the fields that differ)."""
    differences = differing_fields(there, config)
    if differences:
        more = f" and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise UserError(
            f"{workdir} belongs to another config ({', '.join(differences[:4])}{more}): choose another --workdir, or "
            "delete this one"
        )


def _refuse_results_without_config(workdir: epath.Path, config: ConfigDict) -> None:
    """Raises UserError where a run has left results: without its config, nobody knows whether they are of this one."""
    for name, _ in iterations(config):
        for folder in ("labels", "selection", "checkpoints", "model", "finetune", "evaluations"):
            if (workdir / name / folder).exists():
                raise UserError(
                    f"{workdir / name / folder} exists, but {workdir} has no config.json that says of which run it is: "
                    "put it back, or choose another --workdir"
                )


def differing_fields(there: ConfigDict, here: ConfigDict) -> list[str]:
    """Returns 'FIELD is A there and B here' for what decides the results of two runs and differs.

    Iterations that only one of them has after those of the other do not count.
    """
    names_there, names_here = ([name for name, _ in iterations(config)] for config in (there, here))
    common = min(len(names_there), len(names_here))
    if names_there[:common] != names_here[:common]:
        shown_there, shown_here = (", ".join(names) or "one without a name" for names in (names_there, names_here))
        return [f"the iterations are {shown_there} there and {shown_here} here"]
    differing: dict[str, list[str]] = {}  # the text, to the iterations that it is true of
    for (name, iteration_there), (_, iteration_here) in zip(iterations(there), iterations(here), strict=False):
        fields_there, fields_here = deciding_fields(iteration_there), deciding_fields(iteration_here)
        for field in sorted(fields_here):
            if fields_there[field] != fields_here[field]:
                text = f"{field} is {fields_there[field]!r} there and {fields_here[field]!r} here"
                differing.setdefault(text, []).append(name)
    return [text if len(names) == common else f"{text} in {' and '.join(names)}" for text, names in differing.items()]


def _check_evaluated(workdir: epath.Path, there: ConfigDict, here: ConfigDict) -> None:
    """Raises UserError where an evaluation with a result is now another one."""
    for (name, iteration_there), (_, iteration_here) in zip(iterations(there), iterations(here), strict=False):
        for title, evaluation in iteration_here.evaluations.items():
            result = workdir / name / "evaluations" / f"{title}.json"
            before = iteration_there.evaluations.get(title)
            if before is not None and flatten(before) != flatten(evaluation) and result.exists():
                raise UserError(
                    f"evaluations.{title} is {evaluation.to_dict()}, and {result} is of {before.to_dict()}: give it "
                    "another name, or delete that file"
                )


def _add_what_is_new(path: epath.Path, there: ConfigDict, here: ConfigDict) -> None:
    """Writes iterations and evaluations that a run has got since into its config.json."""
    union = ConfigDict(there).copy_and_resolve_references()
    with union.unlocked():
        if len(here.chain) > len(there.chain):
            union.chain, union.chain_order = here.chain, here.chain_order
        for name, evaluation in here.evaluations.items():
            union.evaluations[name] = evaluation
    if flatten(union) != flatten(there):
        save_config(path, union)


def run_iterations(workdir: epath.Path) -> list[str]:
    """Returns the names of a run's iterations in order, [''] where it has no chain.

    config.json says them. Of a run of version 0.1, and of a folder without config.json, they are the folders with a
    model whose names end in numbers.

    Raises:
      UserError: config.json is damaged, or of a later version.
    """
    path = workdir / "config.json"
    saved = read_json(path) if path.exists() else {}
    if not isinstance(saved, dict) or "format_version" in saved:
        return read_saved(path)["iterations"]
    numbers = {}
    for folder in workdir.glob("*"):
        ending = re.search(r"[0-9]+$", folder.name)
        if ending and any((folder / model).exists() for model in ("model", "finetune/model")):
            numbers[folder.name] = int(ending[0])
    return sorted(numbers, key=numbers.__getitem__) or [""]
