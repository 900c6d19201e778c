"""Reads the text of a compiled program (`compiled.as_text()`): its instructions, and how often they run."""

import dataclasses
import math
import re
from collections.abc import Iterator

_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = ")
_COMMENT = re.compile(r"/\*.*?\*/")  # /*index=5*/
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_BITS = re.compile(r"[a-z]+?(\d+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str  # with layouts; '(a, b)' of tuples
    opcode: str
    operands: tuple[str, ...]  # names; of parameters and constants, what stands in the parentheses
    attributes: str
    is_root: bool

    def called(self) -> list[str]:
        """Names of the computations it runs, except the condition of a loop."""
        names = _CALLED.findall(self.attributes)
        for branches in _BRANCHES.findall(self.attributes):
            names += re.findall(r"[\w.\-]+", branches)
        return names


@dataclasses.dataclass(frozen=True)
class Computation:
    """A list of instructions, as the body of a loop.

    Attributes:
      name: in its module.
      instructions: {name: instruction}, in order.
    """

    name: str
    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        return next(instruction for instruction in self.instructions.values() if instruction.is_root)

    def parameter(self, index: int) -> Instruction:
        return next(
            instruction
            for instruction in self.instructions.values()
            if instruction.opcode == "parameter" and instruction.operands == (str(index),)
        )

    def source(self, name: str) -> Instruction:
        """What `name` holds, before copies of it."""
        instruction = self.instructions[name]
        while instruction.opcode in ("copy", "bitcast"):
            instruction = self.instructions[instruction.operands[0]]
        return instruction


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
      computations: {name: computation}.
      entry: the one that runs first.
      devices: partitions x replicas.
    """

    computations: dict[str, Computation]
    entry: Computation
    devices: int


@dataclasses.dataclass(frozen=True)
class Execution:
    """A computation that is not part of an instruction (a fusion): the entry, or the body of a loop."""

    computation: Computation
    times: int
    is_exact: bool  # False if the length of a loop around it could not be read


def parse(text: str) -> Module:
    """Reads `compiled.as_text()` of CPU or TPU."""
    computations, entry, current = {}, None, None
    for line in text.splitlines():
        if match := _HEADER.match(line):
            current = Computation(match[2], {})
            computations[current.name] = current
            entry = current if match[1] else entry
        elif current is not None and (match := _INSTRUCTION.match(line)):
            rest = _COMMENT.sub("", line[match.end() :])
            current.instructions[match[2]] = _instruction(match[2], rest, bool(match[1]))
    counts = dict(re.findall(r"(num_partitions|replica_count)=(\d+)", text.partition("\n")[0]))
    return Module(computations, entry, math.prod(map(int, counts.values())))


def _instruction(name, rest, is_root):
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    start = rest.index("(", end)
    close = _closing(rest, start)
    shape, opcode, inside = rest[:end], rest[end:start].strip(), rest[start + 1 : close]
    literal = opcode in ("parameter", "constant")
    operands = (inside,) if literal else tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, shape, opcode, operands, rest[close + 1 :], is_root)


def _closing(text, start):
    """The place of the bracket that closes the bracket at `start`."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, start):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    raise ValueError(f"no closing bracket: {text[start : start + 80]}")


def arrays(shape: str) -> list[str]:
    """The shapes of the arrays in a tuple, or the array itself."""
    return [match[0] for match in _ARRAY.finditer(shape)]


def array_bytes(shape: str, hbm_only: bool = False, padded: bool = False) -> int:
    """Bytes of an array, or of all of a tuple.

    Args:
      hbm_only: leave out arrays in another memory of a TPU ('S(1)' in their layout, its VMEM, for example).
      padded: with what fills up the tiles of a layout, as 'T(8,128)': an array of 100 channels takes 128.
    """
    total = 0
    for dtype, sizes, layout in _ARRAY.findall(shape):
        if hbm_only and "S(" in layout:
            continue
        numbers = [int(number.strip("<=")) for number in sizes.split(",") if number]
        total += -(-_bits(dtype) * math.prod(_fill_tiles(numbers, layout) if padded else numbers) // 8)
    return total


def _fill_tiles(sizes: list[int], layout: str) -> list[int]:
    """Sizes of an array's dimensions, the smallest stride last, rounded up to whole tiles.

    A layout is '1,0:T(8,128)(2,1)': dimensions from the smallest stride on, and the tile of the last ones of them in
    the usual order. Tiles in tiles, as (2,1) of two-byte elements, divide them evenly.
    """
    order, _, tiling = layout.partition(":")
    match = re.search(r"T\(([\d,]+)\)", tiling)
    if match is None:
        return sizes
    tile = [int(number) for number in match[1].split(",")]
    by_stride = [sizes[int(axis)] for axis in reversed(order.split(",")) if axis]
    by_stride = [1] * (len(tile) - len(by_stride)) + by_stride
    first = len(by_stride) - len(tile)
    return by_stride[:first] + [-(-size // part) * part for size, part in zip(by_stride[first:], tile, strict=True)]


def _bits(dtype: str) -> int:
    """Of one element; 0 of a token."""
    if dtype == "pred":
        return 8
    match = _BITS.match(dtype)
    return int(match[1]) if match else 0


def executions(module: Module) -> Iterator[Execution]:
    """The entry computation, and what its loops, calls and conditionals run (every branch of these)."""
    waiting = [Execution(module.entry, 1, True)]
    while waiting:
        execution = waiting.pop()
        yield execution
        for instruction in execution.computation.instructions.values():
            if instruction.opcode not in ("while", "call", "conditional"):
                continue
            times = 1
            if instruction.opcode == "while":
                times = _trip_count(module, execution.computation, instruction)
            for name in instruction.called():
                waiting.append(
                    Execution(
                        module.computations[name],
                        execution.times * (times or 1),
                        execution.is_exact and times is not None,
                    )
                )


def _trip_count(module, computation, loop):
    """How often the body of a while loop runs, None if it cannot be read.

    XLA notes it for CPU. Programs for TPU have only what `jax.lax.scan` wrote: a counter in the loop's
    tuple that the condition compares with a constant.
    """
    if match := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(match[1])
    condition = module.computations[re.search(r"condition=%?([\w.\-]+)", loop.attributes)[1]]
    body = module.computations[re.search(r"body=%?([\w.\-]+)", loop.attributes)[1]]
    test, initial = condition.root, computation.source(loop.operands[0])
    if test.opcode != "compare" or "direction=LT" not in test.attributes or initial.opcode != "tuple":
        return None
    index = _element(condition, test.operands[0])
    end = _integer(condition, test.operands[1])
    if index is None or end is None or body.root.opcode != "tuple":
        return None
    start = _integer(computation, initial.operands[index])
    step = _step(body, body.root.operands[index], index)
    if start is None or not step:
        return None
    return max(-(-(end - start) // step), 0)


def _element(computation, name):
    """The index of an element of the computation's parameter, None if `name` is something else."""
    element = computation.source(name)
    if element.opcode != "get-tuple-element" or computation.source(element.operands[0]).opcode != "parameter":
        return None
    return int(re.search(r"index=(\d+)", element.attributes)[1])


def _integer(computation, name):
    """The value of a constant, None if `name` is something else."""
    constant = computation.source(name)
    if constant.opcode != "constant" or not re.fullmatch(r"-?\d+", constant.operands[0]):
        return None
    return int(constant.operands[0])


def _step(body, name, index):
    """What a loop's body adds to element `index`."""
    added = body.source(name)
    if added.opcode != "add":
        return None
    first, second = added.operands
    if _element(body, first) != index:
        first, second = second, first
    return _integer(body, second) if _element(body, first) == index else None
