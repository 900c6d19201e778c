"""Stage 'finetune': the trained model on labeled images alone, at a larger resolution (FixRes)."""

import dataclasses

from ns_jax.experiment.chain import finetune_config
from ns_jax.planning.programs import finetune_programs
from ns_jax.run.iteration import Iteration
from ns_jax.run.stages import Stage
from ns_jax.stages import train


def run(iteration: Iteration) -> None:
    """Trains once more, in the folder `finetune` of the iteration, from its model."""
    paths = iteration.paths
    inner = dataclasses.replace(
        iteration,
        config=finetune_config(iteration.config, str(paths.model)),
        teacher=None,
        paths=paths.finetune,
        inputs=dataclasses.replace(iteration.inputs, paths=paths.finetune),
        name=f"{iteration.name} finetune".strip(),
    )
    train.run(inner)


def applies(config, has_teacher: bool) -> bool:
    return config.finetune.epochs > 0


STAGE = Stage(run, applies=applies, programs=finetune_programs)
