"""A step that does not fit into memory is refused before it runs."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import psutil
import pytest

from ns_jax.errors import UserError
from ns_jax.run.memory import compile_step, program_bytes

SIDE = 256


@jax.jit
def step(x):
    return (x @ x).sum() + jnp.sort(x.ravel())[0]


def test_what_is_compiled_runs():
    x = jnp.ones((SIDE, SIDE))
    compiled = compile_step(step, x)
    assert compiled(x) == step(x) and program_bytes(compiled) >= 2 * x.nbytes  # itself and a product


def test_too_little_memory_is_said_in_a_line(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(
        UserError, match=r"a training step needs .* GiB of memory, and 0.0 GiB are free: .*--config.res"
    ):
        compile_step(step, jnp.ones((SIDE, SIDE)))
