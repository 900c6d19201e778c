"""Where every experiment starts: all fields with their defaults.

The table of the fields, each with its meaning and what it may hold, is `ns_jax/experiment/fields.py`.
"""

from ml_collections import ConfigDict

from ns_jax.experiment import fields


def get_config() -> ConfigDict:
    """Returns the defaults: the paper's recipe (ImageNet) without a data set."""
    return fields.defaults()


def choose(table: dict, argument: str):
    """Returns the entry of a table that the argument after a config's colon names.

    Raises:
      ValueError: there is no such entry; names those that there are.
    """
    if argument not in table:
        raise ValueError(f"the argument is one of {', '.join(table)}; not {argument!r}")
    return table[argument]


def chain(c: ConfigDict, students: int) -> None:
    """Makes `c` a chain: a teacher without unlabeled images, then so many students, each taught by the one before."""
    c.chain.iteration_0 = {"data": {"unlabeled": ""}}
    for number in range(1, students + 1):
        c.chain[f"iteration_{number}"] = {}
