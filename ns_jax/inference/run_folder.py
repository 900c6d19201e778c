"""Folder of a run: which model it ended with."""

import re

from etils import epath

from ns_jax.artifact.metadata import has_artifact
from ns_jax.errors import UserError
from ns_jax.files import is_file, read_json

CONFIG = "config.json"


def run_iterations(workdir: epath.Path) -> list[str]:
    """Names of a run's iterations, in order; [''] for a run of a single one.

    Since version 0.2 config.json says them. In a folder of version 0.1 they are the sub-folders with models, ordered
    by the number at the end of their names.

    Raises:
      UserError: config.json is damaged, or several iterations of version 0.1 have no numbers.
    """
    path = workdir / CONFIG
    config = read_json(path) if is_file(path) else {}
    if not isinstance(config, dict):
        raise UserError(f"{path} was not written by this project: name a folder with a model instead")
    if "iterations" in config:
        names = config["iterations"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: iterations must be a list of names: name an iteration's folder instead")
        return names
    return _iterations_of_version_0_1(workdir)


def _iterations_of_version_0_1(workdir: epath.Path) -> list[str]:
    if result_of_iteration(workdir):
        return [""]
    names = [folder.name for folder in workdir.iterdir() if folder.is_dir() and result_of_iteration(folder)]
    if len(names) <= 1:
        return names
    numbers = {name: int(match[0]) for name in names if (match := re.search(r"[0-9]+$", name))}
    if unnumbered := sorted(set(names) - set(numbers)):
        raise UserError(
            f"{workdir} is a run of version 0.1, which does not say the order of its iterations {', '.join(unnumbered)}"
            ": name the folder of one of them"
        )
    return sorted(names, key=numbers.__getitem__)


def result_of_iteration(folder: epath.Path) -> epath.Path | None:
    """Folder of the model that an iteration ended with: fine-tuned where there is one; None where it has none yet."""
    for model in (folder / "finetune" / "model", folder / "model"):
        if has_artifact(model):
            return model
    return None


def result_of_run(workdir: epath.Path) -> epath.Path | None:
    """Folder of the model of the last iteration that has one; None where no iteration has.

    `workdir` may also be the folder of one iteration.
    """
    if model := result_of_iteration(workdir):
        return model
    for name in reversed(run_iterations(workdir)):
        if model := result_of_iteration(workdir / name if name else workdir):
            return model
    return None
