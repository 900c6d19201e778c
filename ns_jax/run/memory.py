"""The memory that a compiled program needs, looked at before its first step."""

import jax
import psutil

from ns_jax.errors import UserError


def program_bytes(compiled) -> int:
    """Bytes of arguments, and of what a compiled program takes beside them."""
    return int(compiled.memory_analysis().argument_size_in_bytes) + working_bytes(compiled)


def working_bytes(compiled) -> int:
    """Bytes of scratch memory, and of results that take no argument's place, of a compiled program on one device."""
    sizes = compiled.memory_analysis()
    return int(sizes.output_size_in_bytes - sizes.alias_size_in_bytes + sizes.temp_size_in_bytes)


def check_memory(num_bytes: float) -> None:
    """Raises UserError where a training step on the CPU needs more memory than is free."""
    if jax.default_backend() != "cpu":
        return
    available = psutil.virtual_memory().available
    if num_bytes > available:
        raise UserError(
            f"a training step needs {num_bytes / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are free: "
            "close other programs, or lower --config.resolution or --config.labeled_batch_size"
        )


def compile_step(step, *arguments):
    """Compiles a jitted training step for its arguments, which are in memory, and checks that it has room.

    Raises:
      UserError: see `check_memory`.
    """
    compiled = step.lower(*arguments).compile()
    check_memory(working_bytes(compiled) * jax.local_device_count())
    return compiled
