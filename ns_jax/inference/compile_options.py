"""How programs of models that only predict are compiled."""

import functools

import jax

from ns_jax.models.base import Network


@functools.cache
def has_wide_vectors() -> bool:
    """Whether this CPU computes 512 bits at once without slowing down: those with AVX512-BF16, under Linux."""
    try:
        with open("/proc/cpuinfo") as file:
            return " avx512_bf16 " in file.read()
    except OSError:
        return False


def compiler_options(network: Network) -> dict | None:
    """Options of the compiler for a network without batch norm.

    XLA's compiler for CPU uses vectors of 256 bits by default. Wider ones add in another order, so that networks with
    batch norm, whose results stay the same bits, do without them.
    """
    if network.options.fold_batch_norm and jax.default_backend() == "cpu" and has_wide_vectors():
        return {"xla_cpu_prefer_vector_width": 512}
    return None
