"""Stage 'finetune': the trained model on labeled images alone, at a larger resolution (FixRes)."""

import dataclasses

from ns_jax.experiment.config import finetune_config
from ns_jax.run.iteration import Iteration
from ns_jax.stages import train


def run(iteration: Iteration) -> None:
    """Trains once more, in the folder `finetune` of the iteration, from its model."""
    inner = dataclasses.replace(
        iteration,
        config=finetune_config(iteration.config, str(iteration.model_dir)),
        teacher=None,
        workdir=iteration.workdir / "finetune",
        name=f"{iteration.name} finetune".strip(),
    )
    train.run(inner)
