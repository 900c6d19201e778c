"""Folder of a run: which model it ended with."""

from etils import epath

from ns_jax.artifact.metadata import has_artifact
from ns_jax.errors import UserError
from ns_jax.experiment.workdir import run_iterations
from ns_jax.files import is_file, read_json_object


def result_of_iteration(folder: epath.Path) -> epath.Path | None:
    """Folder of the model that an iteration ended with: fine-tuned where there is one; None where it has none yet."""
    for model in (folder / "finetune" / "model", folder / "model"):
        if has_artifact(model):
            return model
    return None


def result_of_run(workdir: epath.Path) -> epath.Path | None:
    """Folder of the model that validation chose, else of the last iteration that has one; None where there is none.

    `workdir` may also be the folder of one iteration.

    Raises:
      UserError: config.json is damaged, or of version 0.1, which does not say the order of iterations without numbers.
    """
    if model := result_of_iteration(workdir):
        return model
    choice = workdir / "choice.json"
    if is_file(choice):
        model = read_json_object(choice).get("model")
        if not isinstance(model, str):
            raise UserError(f"{choice} is damaged (it names no model); delete it and run again")
        if has_artifact(workdir / model):
            return workdir / model
    for name in reversed(run_iterations(workdir)):
        if model := result_of_iteration(workdir / name if name else workdir):
            return model
    if not is_file(workdir / "config.json"):
        return None
    unordered = sorted(folder.name for folder in workdir.iterdir() if folder.is_dir() and result_of_iteration(folder))
    if unordered:
        raise UserError(
            f"{workdir} is a run of version 0.1, which does not say the order of its iterations "
            f"{', '.join(unordered)}: name the folder of one of them"
        )
    return None
