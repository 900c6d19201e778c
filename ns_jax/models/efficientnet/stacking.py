"""Repeated blocks as one: their variables stacked, so that the compiler sees a block once and loops.

A run of equal blocks is called 'blocks_2_to_4' then, and its arrays have a leading dimension. Model
artifacts and everything outside training know single blocks only.
"""

import re

import jax
import jax.numpy as jnp

from ns_jax.models.variants import EfficientNetVariant

NAME = re.compile(r"blocks_(\d+)_to_(\d+)")


def equal_blocks(row: EfficientNetVariant, frozen_blocks: int = 0) -> list[range]:
    """Indices of at least two consecutive blocks with the same shapes, none across the end of the frozen ones."""
    found, start = [], 0
    for stage in row.stages:
        end = start + row.round_repeats(stage.repeats)
        # The first block of a stage has other filters, and maybe a stride.
        parts = [range(start + 1, end)]
        if start + 1 < frozen_blocks < end:
            parts = [range(start + 1, frozen_blocks), range(frozen_blocks, end)]
        found += [part for part in parts if len(part) > 1]
        start = end
    return found


def loops_of(model) -> list[range]:
    """The runs of blocks that a linen model executes as loops."""
    return equal_blocks(model.variant, model.frozen_blocks) if getattr(model, "scan_blocks", False) else []


def run_name(blocks: range) -> str:
    return f"blocks_{blocks[0]}_to_{blocks[-1]}"


def stack_blocks(tree: dict, runs: list[range]) -> dict:
    """{blocks_2: ..., blocks_3: ...} to {blocks_2_to_3: ...}, for each of `runs`."""
    tree = dict(tree)
    for blocks in runs:
        parts = [tree.pop(f"blocks_{i}") for i in blocks]
        tree[run_name(blocks)] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    return tree


def stacked_for(model, variables: dict) -> dict:
    """{params, batch_stats} of single blocks, as a model artifact has them, to those that `model` takes."""
    return {name: stack_blocks(tree, loops_of(model)) for name, tree in variables.items()}


def unstack_blocks(tree: dict) -> dict:
    """Undoes `stack_blocks`; single blocks stay."""
    found = {}
    for name, value in tree.items():
        if match := NAME.fullmatch(name):
            first, last = map(int, match.groups())
            for place in range(last + 1 - first):
                found[f"blocks_{first + place}"] = jax.tree.map(lambda leaf, place=place: leaf[place], value)
        else:
            found[name] = value
    return found
