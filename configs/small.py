"""The small set on which every ablation can be tried on a CPU: the demo's digits, a teacher and one student.

Not an experiment itself. Two CPU cores take about two minutes a run.
"""

from ns_jax.configs import mnist5k


def base():
    """A chain of a teacher and one student, to which an ablation gives its overrides."""
    c = mnist5k.get_config("chain")
    del c.chain.iteration_2, c.chain.iteration_3
    return c
