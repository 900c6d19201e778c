"""Repeated blocks as a loop: their variables stacked, so that the compiler sees a block once.

Equal consecutive blocks are called 'blocks_2_to_4' then, and their arrays have a leading dimension. Artifacts and
everything outside training know single blocks only.
"""

import re

import jax
import jax.numpy as jnp

from ns_jax.models.efficientnet.variants import EfficientNet

NAME = re.compile(r"blocks_(\d+)_to_(\d+)")


def equal_blocks(variant: EfficientNet, frozen_blocks: int = 0) -> list[range]:
    """Indices of at least two consecutive blocks with the same shapes, none across the end of the frozen ones."""
    loops, start = [], 0
    for repeats in variant.repeats:
        end = start + repeats
        # The first block of a group has other filters, and maybe a stride.
        parts = [range(start + 1, end)]
        if start + 1 < frozen_blocks < end:
            parts = [range(start + 1, frozen_blocks), range(frozen_blocks, end)]
        loops += [part for part in parts if len(part) > 1]
        start = end
    return loops


def loop_name(blocks: range) -> str:
    return f"blocks_{blocks[0]}_to_{blocks[-1]}"


def stack_blocks(tree: dict, loops: list[range]) -> dict:
    """{blocks_2: ..., blocks_3: ...} to {blocks_2_to_3: ...}, for each of `loops`."""
    tree = dict(tree)
    for blocks in loops:
        names = [f"blocks_{i}" for i in blocks if f"blocks_{i}" in tree]
        if names:  # a collection without variables has none
            parts = [tree.pop(name) for name in names]
            tree[loop_name(blocks)] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    return tree


def unstack_blocks(tree: dict) -> dict:
    """Undoes `stack_blocks`; single blocks stay."""
    single = {}
    for name, value in tree.items():
        match = NAME.fullmatch(name)
        if match is None:
            single[name] = value
            continue
        first, last = map(int, match.groups())
        for place in range(last + 1 - first):
            single[f"blocks_{first + place}"] = jax.tree.map(lambda leaf, place=place: leaf[place], value)
    return single
