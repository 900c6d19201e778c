"""The programs and the teacher of an iteration, as its config describes them."""

from etils import epath

from ns_jax.artifact.metadata import has_artifact, read_metadata
from ns_jax.models.base import ArrayInputs
from ns_jax.models.registry import get_architecture
from ns_jax.planning.programs import Counts, Program, Teacher
from ns_jax.run.stages import get_stage


def iteration_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """The programs of one iteration in the order of its stages.

    Args:
      config: of the iteration, without a chain.
      mesh: its devices.
      counts: of its data.
      teacher: whose labels it trains on; not looked at without unlabeled images.

    Raises:
      UserError: a batch cannot be split over the devices, or the model cannot do what the config asks for.
    """
    is_student = bool(config.data.unlabeled) and teacher is not None
    programs = []
    for name in config.stages:
        stage = get_stage(name)
        if stage.applies(config, is_student):
            programs += stage.programs(config, mesh, counts, teacher if is_student else None)
    return programs


def find_teacher(config, variant: str = "", resolution: int = 0) -> Teacher:
    """The teacher of the first iteration: the config's own where its folder is there, else one that is described.

    Args:
      config: of an iteration.
      variant: of the teacher, instead of what its folder says; the student's where both are missing.
      resolution: in pixels, at which it labels; its own where 0.

    Raises:
      UserError: the folder's metadata are damaged, there is no such variant, or it takes no images.
    """
    folder = epath.Path(config.teacher) if config.teacher else None
    if folder and not variant and has_artifact(folder):
        metadata = read_metadata(folder)
        architecture = get_architecture(metadata["variant"])
        return Teacher(architecture, resolution or metadata["resolution"], metadata.get("dtype"))
    architecture = get_architecture(variant or config.variant)
    if isinstance(architecture.inputs, ArrayInputs):
        architecture.inputs.example_shape(resolution)  # raises where a resolution is asked for
        return Teacher(architecture, None)
    return Teacher(architecture, resolution or architecture.inputs.test_resolution)
