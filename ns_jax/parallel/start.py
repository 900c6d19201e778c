"""The beginning of a process that is one of several hosts."""

import os

import jax

from ns_jax.errors import UserError


def join_hosts() -> None:
    """Starts jax.distributed: with JAX_NUM_PROCESSES and JAX_PROCESS_ID where they are set, else as it finds.

    Raises:
      UserError: it finds no cluster, or one of the variables is no number.
    """
    given = {}
    for name in ("num_processes", "process_id"):
        if text := os.environ.get(f"JAX_{name.upper()}"):
            if not text.isdecimal():
                raise UserError(f"JAX_{name.upper()}={text!r} is not a number")
            given[name] = int(text)
    try:
        jax.distributed.initialize(**given)
    except ValueError as error:
        raise UserError(
            f"--distributed: {' '.join(str(error).split())} On TPU VMs and Slurm clusters jax finds it; elsewhere set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from None
