"""The method: the iterations of a config, and the stages of each, in order."""

import contextlib
import threading
from collections.abc import Callable

import jax
from etils import epath
from ml_collections import ConfigDict

from ns_jax.buckets import check_address
from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import HostError, UserError
from ns_jax.experiment.chain import VALIDATION, iterations
from ns_jax.experiment.fingerprint import fingerprint, full_fingerprint, lockstep_fingerprint
from ns_jax.experiment.workdir import claim_workdir
from ns_jax.files import remove_leftovers
from ns_jax.parallel.agreement import check_agreement
from ns_jax.parallel.hosts import barrier, is_process_zero, on_process_zero
from ns_jax.parallel.mesh import make_mesh
from ns_jax.progress_file import progress_file
from ns_jax.report.progress import say
from ns_jax.report.write import write_report
from ns_jax.run.choice import choose_iteration
from ns_jax.run.helping import help_other_run, hold_workdir
from ns_jax.run.iteration import Iteration, make_iteration
from ns_jax.run.paths import IterationPaths
from ns_jax.run.stages import Stage, get_stage
from ns_jax.run.took import recorded


def run(config: ConfigDict, workdir: epath.Path) -> None:
    """Runs what is missing of every iteration, then writes the report.

    Beside another run that works there, one of stages that can be helped does its part of them (labelling). It goes on
    as the run itself if the other one has ended.

    Args:
      config: a valid one, see `ns_jax/experiment/fields.py`.
      workdir: holds everything that the run makes; an interrupted run continues there.

    Raises:
      UserError: the config, the data or the workdir cannot be used as they are, hosts differ, or another run works
        in the workdir and cannot be helped.
    """
    check_agreement(lockstep_fingerprint(config), str(workdir))
    plan = make_plan(config, workdir)
    stages = [stages_of(iteration) for iteration in plan]
    helps = [getattr(stage, "help", None) for own_stages in stages for _, stage in own_stages]
    can_help = bool(helps) and all(helps)
    with contextlib.ExitStack() as until_the_end:
        if not hold_workdir(workdir, until_the_end, can_help):
            help_other_run(config, workdir, plan, stages)
            if not hold_workdir(workdir, until_the_end, can_help):
                return
        if is_process_zero():
            until_the_end.enter_context(progress_file(workdir / "progress.json"))
        _run_plan(config, workdir, plan, stages)


def _run_plan(config: ConfigDict, workdir: epath.Path, plan: list[Iteration], stages: list[list]) -> None:
    """Claims the workdir, checks everything, and runs the stages of each iteration of `plan`."""
    is_new = not (workdir / "config.json").exists()
    on_process_zero(lambda: claim_workdir(workdir, config))
    on_process_zero(lambda: remove_leftovers(workdir, spared="labels"))  # where others may already help
    try:
        for iteration, own_stages in zip(plan, stages, strict=True):
            for _, stage in own_stages:
                stage.check(iteration)
        barrier("check: all hosts can run all stages")
    except (UserError, HostError):
        if is_new and is_process_zero():
            release_workdir(workdir, plan)
        raise
    for iteration, own_stages in zip(plan, stages, strict=True):
        for name, stage in own_stages:
            with recorded(iteration.paths.folder, name):
                stage.run(iteration)
                # None begins the next one while another still ends this one, or fails in it.
                barrier(f"the end of {iteration.title(name)}")
    on_process_zero(lambda: choose_iteration(workdir))
    report_in_time(workdir, config.timeouts.report_seconds)


def report_in_time(workdir: epath.Path, seconds: float) -> None:
    """Writes the report on process 0. Of several hosts, the others wait for it no longer than `seconds`.

    A run that has trained and evaluated everything ends well without its report; a further start writes it.
    """
    if jax.process_count() == 1:
        write_report(workdir)
        return
    on_process_zero(lambda: call_in_time(lambda: write_report(workdir), seconds, "report"), seconds + 60)


def call_in_time(work: Callable[[], None], seconds: float, what: str) -> None:
    """Calls `work` in a thread, and returns when it is done, or after `seconds` with a line that says so.

    Raises:
      UserError, or whatever else `work` raises in time.
    """
    errors: list[BaseException] = []

    def call() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        say(f"{what}: not done after {seconds:.0f} s (timeouts.report_seconds); start again to write it")
    elif errors:
        raise errors[0]


def release_workdir(workdir: epath.Path, plan: list[Iteration]) -> None:
    """Undoes the claim of a run that never began, so that the corrected command is not refused."""
    for iteration in plan:
        for field in iteration.inputs.sources:
            iteration.paths.data_record(field).unlink(missing_ok=True)
    (workdir / "config.json").unlink(missing_ok=True)


def make_plan(config: ConfigDict, workdir: epath.Path) -> list[Iteration]:
    """The iterations of a config: those of each fold of cross-validation, then those that count."""
    opened, plan = OpenSources(config.data.dir, str(IterationPaths(workdir, workdir).data_cache)), []
    for fold in range(config.validation_folds):
        plan += _make_chain(config, workdir, opened, fold)
    return plan + _make_chain(config, workdir, opened)


def _make_chain(
    config: ConfigDict, workdir: epath.Path, opened: OpenSources, fold: int | None = None
) -> list[Iteration]:
    """The iterations of a chain; each one's teacher is the result of the one before.

    A fold of cross-validation has them without supervised controls, and without evaluations but validation.
    """
    chain: list[Iteration] = []
    teacher, resolved = None, iterations(config)
    # Also where an iteration has none of its own: a teacher learns from the images that were corrected, too.
    may_join = next((own.data.unlabeled for _, own in resolved if own.data.unlabeled), "")
    for name, own_config in resolved:
        if fold is not None:
            if chain and not own_config.data.unlabeled:
                continue
            with own_config.unlocked():
                own_config.evaluations = {VALIDATION: own_config.evaluations[VALIDATION]}
        taught_by = selection_from = None
        if own_config.data.unlabeled:
            check_address(own_config.teacher)
            taught_by = teacher or epath.Path(own_config.teacher)
            selection_from = _selection_folder(own_config.selection_from, chain)
        mesh = make_mesh(own_config.parallel.shard_state)
        identity = (fingerprint(own_config), full_fingerprint(own_config))
        chain.append(
            make_iteration(name, own_config, workdir, taught_by, selection_from, mesh, identity, opened, may_join, fold)
        )
        teacher = chain[-1].result
    return chain


def _selection_folder(selection_from: str, earlier: list[Iteration]) -> epath.Path | None:
    """The folder that the field `selection_from` names: of an earlier iteration, or of any run; None where it is ''."""
    if not selection_from:
        return None
    for iteration in earlier:
        if iteration.paths.folder.name == selection_from:
            if not iteration.has_stored_labels:
                raise UserError(f"selection_from={selection_from}: that iteration has no pseudo-labels")
            return iteration.paths.folder
    check_address(selection_from)
    return epath.Path(selection_from)


def stages_of(iteration: Iteration) -> list[tuple[str, Stage]]:
    """The stages of an iteration that apply to it with their names, in the order of its config.

    Raises:
      UserError: there is no such stage.
    """
    stages = [(name, get_stage(name)) for name in iteration.config.stages]
    if not stages:
        raise UserError("stages is empty: there is nothing to run")
    has_teacher = iteration.teacher is not None
    return [(name, stage) for name, stage in stages if stage.applies(iteration.config, has_teacher)]
