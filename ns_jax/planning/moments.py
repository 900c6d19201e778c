"""Memory at the moments beside the steps: starting from a model, restarting from a checkpoint, writing the model."""

import math

import jax

from ns_jax.planning.programs import Program


def device_bytes(tree) -> int:
    """Bytes of a tree of shapes on one device; those without a sharding are whole."""

    def size(leaf):
        sharding = getattr(leaf, "sharding", None)
        shape = sharding.shard_shape(leaf.shape) if sharding else leaf.shape
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(tree)))


def whole_bytes(tree) -> int:
    """Bytes of a tree of shapes that is not split."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def moments_of(program: Program) -> dict[str, int]:
    """What one device holds at the moments of a training beside its steps: bytes; {} of a program without a state.

    Restart: the state alone, which Orbax reads into its place. Start from a model: the fresh state, and the model's
    parameters, statistics and their EMA beside it (`warm_start`). Model written: the state, and its EMA whole on every
    device (`whole_on_host`).
    """
    if "optimizer" not in program.memory:
        return {}
    memory = program.memory
    state = sum(device_bytes(tree) for kind, tree in memory.items() if kind != "batch")
    model = device_bytes((memory["parameters"], memory["batch norm statistics"]))
    return {
        "restart": state,
        "start from a model": state + 2 * model,
        "model written": state + whole_bytes(memory["EMA"]),
    }
