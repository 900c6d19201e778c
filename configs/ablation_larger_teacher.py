"""A larger teacher (study 1, Table 9): the same student, taught by a model of its own size or by a larger one.

  python -m ns_jax.main --config=configs/ablation_larger_teacher.py:larger,fashion --workdir=DIR

Two CPU cores, minutes: the larger teacher has 1.5 times the width and depth. On ImageNet these are
configs/b0_ns.py:same_teacher and :l2_teacher to b7_ns.py. Paper: with L2 as the teacher 0.5 to 1.6 points more.
"""

from ns_jax.configs import ablation


def _larger(c) -> None:
    c.chain.iteration_0.variant = "efficientnet-small-1.5"


ROWS = {"same": lambda c: None, "larger": _larger}


def get_config(argument: str = "larger,fashion"):
    return ablation.on_the_study_set(argument, ROWS)
