"""Accuracy under PGD (Madry et al. 2018): several steps, projected back to within epsilon of the image.

The paper says 10 iterations and epsilon 16. Of the size of a step it says nothing: here it is 2.5 * epsilon / steps,
as in Madry et al. 2018, where the options give none.
"""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.attacks import Attack, evaluate_attack
from ns_jax.evaluators.parts import Parts, in_parts
from ns_jax.inference.predictor import Predictor

REACH = 2.5  # all steps together, in multiples of epsilon


@in_parts
def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options, parts: Parts) -> dict:
    """See `evaluate_attack`; `options`: `epsilons`, `steps`, `step_size`, `random_start`, `restarts`, `seed`.

    Raises:
      UserError: there are restarts without random starts, or see `evaluate_attack`.
    """
    if options["restarts"] > 1 and not options["random_start"]:
        raise UserError(f"restarts={options['restarts']} without random_start=True would all begin alike")
    attack = Attack(
        steps=options["steps"],
        step_size=options["step_size"] or REACH / options["steps"],
        random_start=options["random_start"],
        restarts=options["restarts"],
        seed=options["seed"],
    )
    return evaluate_attack(predictor, source, indices, attack, options["epsilons"], parts)
