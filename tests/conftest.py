"""Eight CPU devices, strict dtypes and ranks, one compilation cache for the whole session."""

import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    # Workers of one session share it: most of the time of tests that start whole runs is compilation.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compilation_cache"
    folder.mkdir(exist_ok=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)  # of the processes that tests start
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder


@pytest.fixture(scope="module")
def quick_compilation():
    """For programs of which a few steps run: the compiler takes longer over them than they themselves do.

    Programs compiled as they are for users run in the tests that start processes, and in those of models/.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def pytest_collection_modifyitems(items):
    """The longest files go first, so that one worker does not begin one of them at the end."""
    longest = ("stages", "training", "planning", "interop")
    rank = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(longest)))
