"""The programs of a whole iteration, from the table of stages."""

from ns_jax.planning.programs import Counts, Program, Teacher
from ns_jax.run.stages import get_stage


def iteration_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """The programs of one iteration in the order of its stages.

    Args:
      config: of the iteration, without a chain.
      mesh: its devices.
      counts: of its data.
      teacher: of the student; not looked at without unlabeled images.

    Raises:
      UserError: a batch cannot be split over the devices, or there is no such stage.
    """
    has_teacher = bool(config.data.unlabeled) and teacher is not None
    programs = []
    for name in config.stages:
        stage = get_stage(name)
        if stage.applies(config, has_teacher):
            programs += stage.programs(config, mesh, counts, teacher if has_teacher else None)
    return programs
