"""The cheapest way to train a batch that fits into memory."""

from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from ns_jax.models.registry import get_architecture
from ns_jax.planning.estimate import Estimate, argument_bytes, estimate
from ns_jax.planning.programs import Program

SHARES = (1, 4, 16, 64)


def levels(config: ConfigDict, devices: int) -> Iterator[list[dict]]:
    """Values of `config.parallel`, the cheapest first; those of one level differ in `shard_state`, ascending.

    Splitting the state costs traffic that hides behind arithmetic; recomputation costs about a third of
    the arithmetic; parts of a batch change what batch norm averages over, so they come last. Loops over
    equal blocks cost next to nothing, and without them a large model takes hours to compile.
    """
    architecture = get_architecture(config.variant)
    loops = architecture.can_scan
    shares = [share for share in SHARES if devices % share == 0]
    batch = config.labeled_batch_size // devices
    parts = [2**power for power in range(12) if 2**power <= batch and batch % 2**power == 0]
    for accumulation_steps in parts or [1]:
        for remat in (False, True) if architecture.can_remat else (False,):
            yield [
                {"scan_blocks": loops, "remat": remat, "shard_state": share, "accumulation_steps": accumulation_steps}
                for share in shares
            ]


def search(
    config: ConfigDict, devices: int, limit: int, build: Callable[[ConfigDict], Program], say: Callable[[str], None]
) -> tuple[ConfigDict, Estimate] | None:
    """Tries the levels until one fits: first its most saving member, and if that does, the others.

    Args:
      config: of an iteration.
      devices: how many there are.
      limit: bytes of memory of one device.
      build: the training program of a config.
      say: takes a line about each attempt.

    Returns:
      (the config that fits, its estimate), or None.

    Raises:
      UserError: a batch cannot be split over the devices.
    """

    def attempt(levers: dict):
        one = ConfigDict(config).copy_and_resolve_references()
        one.parallel.update(levers)
        program, text = build(one), ", ".join(f"{name}={value}" for name, value in levers.items())
        state = sum(argument_bytes(program, devices).values())
        if state > limit:
            say(f"{text}: the state and the batch alone are {state / 2**30:.2f} of {limit / 2**30:.2f} GiB")
            return None
        found = estimate(program, devices)
        say(
            f"{text}: {found.memory_total / 2**30:.2f} of {limit / 2**30:.2f} GiB, "
            f"{'fits' if found.fits else 'does not fit'} ({found.compile_seconds:.0f} s)"
        )
        return (one, found) if found.fits else None

    for *cheaper, saving in levels(config, devices):
        if best := attempt(saving):
            return next(filter(None, map(attempt, cheaper)), best)
    return None
