"""What the devices of a compiled program send each other, and what each reads and writes in its memory."""

import dataclasses
import functools
import math
import re

from ns_jax.planning.hlo import Computation, Instruction, Module, array_bytes, arrays, executions, parse

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Name existing memory, or run other computations, which are counted.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "while",
    "call",
    "conditional",
    "after-all",
    "partition-id",
    "replica-id",
    "opt-barrier",
}
_FREE_CUSTOM_CALLS = re.compile(
    r'custom_call_target="(AllocateBuffer|ConcatBitcast|AsyncCollectiveStart|AsyncCollectiveDone)"'
)
_SLICES = ("slice", "dynamic-slice", "gather")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective instruction of a compiled program.

    `bytes` are those of one device, each time: of the whole array where devices have or get parts of it (the
    result of an all-gather, the operand of a reduce-scatter), else of the operand.
    """

    kind: str  # one of KINDS
    bytes: int
    group_size: int  # devices that take part in each group; of a collective-permute, its pairs of two devices
    times: int  # it runs in one run of the program
    is_exact: bool  # False if `times` has a loop of unknown length, counted once
    op_name: str  # where in the model it comes from


def find_collectives(text: str) -> list[Collective]:
    """The collectives of `compiled.as_text()`, those that only one device takes part in left out.

    Asynchronous ones, which stand there in parts, are listed once. An all-reduce that is fused with
    the slice that its device keeps is a reduce-scatter, as TPU programs have it.
    """
    module, collectives = parse(text), []
    for execution in executions(module):
        for caller in execution.computation.instructions.values():
            for holder, instruction in _parts(module, execution.computation, caller):
                kind = instruction.opcode.removesuffix("-start")
                if kind not in KINDS or _continues(holder, instruction):
                    continue
                group_size = _group_size(module, instruction)
                if group_size < 2:
                    continue
                size = sum(array_bytes(holder.instructions[name].shape) for name in instruction.operands)
                if kind == "all-gather":
                    size *= group_size
                if _keeps_a_slice(kind, caller, holder):
                    kind = "reduce-scatter"
                op_name = re.search(r'op_name="([^"]*)"', instruction.attributes + caller.attributes)
                name = op_name[1] if op_name else ""
                collectives.append(Collective(kind, size, group_size, execution.times, execution.is_exact, name))
    return collectives


def _keeps_a_slice(kind: str, caller: Instruction, holder: Computation) -> bool:
    """Whether an all-reduce is fused with the slice that its device keeps."""
    return kind == "all-reduce" and "kind=kCustom" in caller.attributes and holder.root.opcode == "dynamic-slice"


def network_bytes(collective: Collective) -> float:
    """Bytes that each device must at least send, each time the collective runs.

    That is what a ring sends (Patarasuk and Yuan 2009, doi.org/10.1016/j.jpdc.2008.09.002). In a torus,
    data of all-to-alls and permutations also passes through others on its way, which is not counted.
    """
    if collective.kind == "collective-permute":
        return collective.bytes
    share = (collective.group_size - 1) / collective.group_size * collective.bytes
    return 2 * share if collective.kind == "all-reduce" else share


@dataclasses.dataclass(frozen=True)
class SliceTransfer:
    """What a device hands to its host for another slice: programs of several slices have a send where they meet."""

    bytes: int
    times: int  # in one run of the program


def find_slice_transfers(text: str) -> list[SliceTransfer]:
    """The transfers between slices of `compiled.as_text()`; none of a program of one slice."""
    module = parse(text)
    return [
        SliceTransfer(array_bytes(execution.computation.instructions[instruction.operands[0]].shape), execution.times)
        for execution in executions(module)
        for instruction in execution.computation.instructions.values()
        if instruction.opcode == "send" and "xla_megascale_runtime" in instruction.attributes
    ]


def hbm_bytes(text: str, padded: bool = True) -> int:
    """Bytes that each device reads and writes in its memory, in one run of `compiled.as_text()`.

    The sum over instructions of operands and results, fusions being one instruction; of slices and updates
    in place only the part that they touch. Arrays that a TPU keeps on its chip are not counted. Every branch of a
    conditional counts.

    Args:
      padded: with the padding of arrays to tiles of 8x128, which makes arrays with few channels larger.
    """
    module, size = parse(text), functools.partial(array_bytes, padded=padded)
    return sum(
        execution.times * _instruction_bytes(module, execution.computation, instruction, size)
        for execution in executions(module)
        for instruction in execution.computation.instructions.values()
    )


def _parts(module: Module, computation: Computation, instruction: Instruction):
    """An instruction, or if it is a fusion what is in it, each with its computation."""
    if instruction.opcode not in ("fusion", "async-start"):
        yield computation, instruction
        return
    for name in instruction.called():
        inner = module.computations[name]
        for part in inner.instructions.values():
            yield from _parts(module, inner, part)


def _continues(holder, instruction):
    """Whether this is a later part of an asynchronous collective of a TPU.

    These stand in several fusions: one starts them, some go on with them beside a computation, one waits.
    """
    return "async_collective_fusion_config" in instruction.attributes and not any(
        'custom_call_target="AsyncCollectiveStart"' in part.attributes for part in holder.instructions.values()
    )


def _group_size(module, instruction):
    """Devices that take part in each group; of a collective-permute, 2, or 1 if nothing moves."""
    attributes = instruction.attributes
    if match := re.search(r"source_target_pairs=\{([^a-z]*)\}", attributes):
        moves = any(source != target for source, target in re.findall(r"\{(\d+),(\d+)\}", match[1]))
        return 2 if moves else 1
    if match := re.search(r"replica_groups=\{\{([\d,]*)\}", attributes):  # {{0,1},{2,3}}
        return match[1].count(",") + 1
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes):  # [groups,size]<=[...]
        return int(match[1])
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", attributes):
        # mesh['a'=4,'b'=2] {'a'}; a part of an axis, of size 2, is 'a':(1)2
        sizes = {name: int(size) for name, size in re.findall(r"('[^']+')=(\d+)", match[1])}
        axes = re.findall(r"('[^']+')(?::\(\d+\)(\d+))?", match[2])
        return math.prod(int(part) if part else sizes[name] for name, part in axes)
    if "replica_groups={}" in attributes:
        return module.devices
    raise ValueError(f"replica groups that cannot be read: {attributes[:300]}")


def _instruction_bytes(module, computation, instruction, size):
    """Bytes that one device reads and writes in its memory for an instruction; `size`: bytes of a shape."""
    opcode, operands = instruction.opcode, instruction.operands
    if opcode in _FREE or _FREE_CUSTOM_CALLS.search(instruction.attributes):
        return 0
    written = size(instruction.shape, hbm_only=True)
    shapes = [computation.instructions[name].shape for name in operands]
    if opcode.endswith("-done"):  # its operands are those of the start
        return written
    if opcode in _SLICES:
        return written + _touched(shapes[0], size(instruction.shape), size)
    if opcode == "dynamic-update-slice":
        return _touched(shapes[0], size(shapes[1]), size) + size(shapes[1], hbm_only=True)
    if opcode == "fusion":
        called = module.computations[instruction.called()[0]]
        read = (_touched(shape, _read(module, called, place, size), size) for place, shape in enumerate(shapes))
        return sum(read) + _written(called, instruction, size)
    if opcode.endswith("-start") or opcode in ("send", "recv"):
        written = 0
    return written + sum(size(shape, hbm_only=True) for shape in shapes)


def _touched(shape, touched, size):
    """`touched` bytes of an array, if that is in HBM."""
    return min(touched, size(shape, hbm_only=True))


def _read(module, computation, place, size):
    """Bytes that a fused computation reads of its parameter."""
    parameter = computation.parameter(place)
    names, total = [parameter.name], 0
    for name in names:
        for user in computation.instructions.values():
            if name not in user.operands or user.opcode in ("parameter", "constant", "tuple"):
                continue
            if _continues(computation, user) or _FREE_CUSTOM_CALLS.search(user.attributes):
                continue
            if user.opcode == "bitcast":
                names.append(user.name)
            elif user.opcode in _SLICES and user.operands[0] == name:
                total += size(user.shape)
            elif user.opcode == "fusion":
                inner = module.computations[user.called()[0]]
                total += sum(
                    _read(module, inner, i, size) for i, operand in enumerate(user.operands) if operand == name
                )
            elif user.opcode != "dynamic-update-slice" or name in user.operands[1:]:
                total += size(parameter.shape)
    return total


def _written(computation, fusion, size):
    """Bytes that a fusion writes: of updates in place, the update."""
    root = computation.source(computation.root.name)
    results = [computation.source(name) for name in root.operands] if root.opcode == "tuple" else [root]
    shapes = arrays(fusion.shape)
    if len(results) != len(shapes):  # the root is something else with several results
        results = [root] * len(shapes)
    kept = set()
    if any("async_collective_fusion_config" in part.attributes for part in computation.instructions.values()):
        # What a part of an asynchronous collective hands on to the next: {1}: (0, {}), or {}: of all.
        kept = {int(place or 0) for place in re.findall(r"\{(\d*)\}: \(", fusion.attributes)}
    total = 0
    for place, (result, shape) in enumerate(zip(results, shapes, strict=True)):
        written = size(shape)
        if result.opcode == "dynamic-update-slice":
            written = size(computation.instructions[result.operands[1]].shape)
        total += 0 if place in kept else _touched(shape, written, size)
    return total
