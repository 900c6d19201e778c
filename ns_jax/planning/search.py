"""The cheapest way to train a batch that fits into memory."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ml_collections import ConfigDict

from ns_jax.models.registry import get_architecture
from ns_jax.planning.estimate import Estimate, argument_bytes, estimate
from ns_jax.planning.hardware import GIB
from ns_jax.planning.programs import Program

SHARES = (1, 4, 16, 64)  # over so many devices a state is split
MAX_PARTS = 2**11  # of a batch


class Fit(NamedTuple):
    """A config with which training fits, and the estimate of its program."""

    config: ConfigDict
    estimate: Estimate


def levels(config: ConfigDict, devices: int) -> Iterator[list[dict]]:
    """Values of `config.parallel`, the cheapest first; those of one level differ in `shard_state`, ascending.

    Splitting the state costs traffic that hides behind arithmetic; recomputation costs about a third of
    the arithmetic; parts of a batch change what batch norm averages over, so they come last. Loops over
    equal blocks cost next to nothing, and without them a large model takes hours to compile.
    """
    architecture = get_architecture(config.variant)
    shares = [share for share in SHARES if devices % share == 0]
    remats = (False, True) if architecture.can_remat else (False,)
    for parts in possible_parts(config.labeled_batch_size // devices):
        for remat in remats:
            same = {"scan_blocks": architecture.can_scan, "remat": remat, "accumulation_steps": parts}
            yield [same | {"shard_state": share} for share in shares]


def possible_parts(batch_of_device: int) -> list[int]:
    """Into how many equal parts a device's batch can be divided: powers of two, at least 1."""
    parts, number = [], 1
    while number <= min(batch_of_device, MAX_PARTS) and batch_of_device % number == 0:
        parts.append(number)
        number *= 2
    return parts or [1]


def search(
    config: ConfigDict, devices: int, limit: int, build: Callable[[ConfigDict], Program], say: Callable[[str], None]
) -> Fit | None:
    """Tries the levels until one fits: first its most saving member, and if that does, the others.

    Args:
      config: of an iteration.
      devices: how many there are.
      limit: bytes of memory of one device.
      build: the training program of a config.
      say: takes a line about each attempt.

    Returns:
      The cheapest that fits, or None.

    Raises:
      UserError: a batch cannot be split over the devices.
    """

    def attempt(parallel: dict) -> Fit | None:
        return try_to_fit(config, parallel, devices, limit, build, say)

    for *cheaper, most_saving in levels(config, devices):
        best = attempt(most_saving)
        if best is None:
            continue
        for parallel in cheaper:
            if fit := attempt(parallel):
                return fit
        return best
    return None


def try_to_fit(config: ConfigDict, parallel: dict, devices: int, limit: int, build, say) -> Fit | None:
    """Compiles training with values of `config.parallel`, unless the state alone is above `limit` bytes."""
    changed = ConfigDict(config).copy_and_resolve_references()
    changed.parallel.update(parallel)
    program = build(changed)
    text = ", ".join(f"{name}={value}" for name, value in parallel.items())
    state = sum(argument_bytes(program, devices).values())
    if state > limit:
        say(f"{text}: the state and the batch alone are {state / GIB:.2f} of {limit / GIB:.2f} GiB")
        return None
    result = estimate(program, devices)
    say(
        f"{text}: {result.memory_total / GIB:.2f} of {limit / GIB:.2f} GiB, "
        f"{'fits' if result.fits else 'does not fit'} ({result.compile_seconds:.0f} s)"
    )
    return Fit(changed, result) if result.fits else None
