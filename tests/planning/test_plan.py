"""The command, and what the devices of a plan send each other."""

import importlib.util
import json
import subprocess
import sys

import jax
import pytest

from ns_jax.configs import mnist5k
from ns_jax.experiment.chain import iterations
from ns_jax.parallel.mesh import make_mesh
from ns_jax.planning.collectives import find_collectives
from ns_jax.planning.estimate import estimate
from ns_jax.planning.hardware import GENERATIONS, describe_topology
from ns_jax.planning.iteration import iteration_programs
from tests.conftest import REPO
from tests.planning.shapes import COUNTS, TINY_TEACHER
from tests.tiny_model import TINY

MAX_METRICS = 6
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


@needs_libtpu
@pytest.mark.parametrize(("shard_state", "bn_group_size"), [(1, 0), pytest.param(2, 2, marks=pytest.mark.slow)])
def test_every_collective_of_the_step_is_accounted_for(shard_state, bn_group_size):
    """What four TPU devices send in a student's step: batch norm's sums, gradients, metrics, and split kernels.

    The model computes in bfloat16; kernels travel so, all sums over devices are float32.
    """
    config = dict(iterations(mnist5k.get_config("smoke")))["iteration_1"]
    config.variant, config.bn_group_size, config.dtype = TINY, bn_group_size, "bfloat16"
    mesh = make_mesh(shard_state, describe_topology("v5e:2x2").devices)
    config.stages = ("train",)
    (program,) = iteration_programs(config, mesh, COUNTS, TINY_TEACHER)
    collectives = find_collectives(program.function.trace(*program.arguments).lower().compile().as_text())
    assert all(collective.is_exact and collective.times == 1 for collective in collectives)
    params, statistics = (
        sum(4 * leaf.size for leaf in jax.tree.leaves(program.memory[kind]))
        for kind in ("parameters", "batch norm statistics")
    )
    split = sum(
        4 * leaf.size for leaf in jax.tree.leaves(program.memory["parameters"]) if not leaf.sharding.is_fully_replicated
    )
    sums = [collective for collective in collectives if is_sum_of_batch_norm(collective.op_name)]
    assert total_bytes(sums) == statistics and {sent.group_size for sent in sums} == {bn_group_size or 4}
    gathered = [collective for collective in collectives if collective.kind == "all-gather"]
    assert total_bytes(gathered) <= split and {sent.group_size for sent in gathered} <= {2}
    rest = [collective for collective in collectives if collective not in sums and collective not in gathered]
    assert all("transpose(jvp" in collective.op_name for collective in rest)  # gradients; metrics travel with them
    if shard_state == 1:
        assert 0 < total_bytes(rest) - params <= 4 * MAX_METRICS
    else:  # split gradients are added up over one axis, and their parts over the other
        assert params + split / 2 < total_bytes(rest) < 2 * params


@pytest.mark.slow
@needs_libtpu
def test_between_slices_gradients_are_added_up():
    """Two slices of four TPUs: each adds up within itself first, and sends the sums, once a step."""
    config = dict(iterations(mnist5k.get_config("smoke")))["iteration_1"]
    config.variant, config.bn_group_size, config.stages = TINY, 4, ("train",)
    config.labeled_batch_size = 64
    mesh = make_mesh(2, describe_topology("2xv5e:2x2").devices)
    (program,) = iteration_programs(config, mesh, COUNTS, TINY_TEACHER)
    result = estimate(program, 8)
    whole, split = (
        sum(4 * leaf.size for leaf in leaves)
        for leaves in partition(jax.tree.leaves(program.memory["parameters"]), is_whole)
    )
    # Each device sends its part of split gradients and all of the others; small arrays fill up rows of 128.
    assert result.slice_bytes >= whole + split / 2 and 0 < result.slice_transfers < 60
    assert max(part.group_size for part in result.traffic) == 4  # nothing else leaves a slice
    generation = GENERATIONS["v5e"]
    assert result.roofline(generation)["between slices"] == result.slice_bytes / generation.slice_bandwidth


def is_whole(leaf) -> bool:
    return leaf.sharding.is_fully_replicated


def partition(leaves: list, test) -> tuple[list, list]:
    """Those that pass a test, and the others."""
    return [leaf for leaf in leaves if test(leaf)], [leaf for leaf in leaves if not test(leaf)]


def is_sum_of_batch_norm(op_name: str) -> bool:
    """In the forward pass."""
    return "transpose" not in op_name and op_name.endswith("_bn/reduce_sum")


def total_bytes(collectives) -> int:
    return sum(collective.bytes for collective in collectives)


def run_plan(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ns_jax.plan", *arguments], cwd=REPO, capture_output=True, text=True, timeout=300
    )


@needs_libtpu
def test_the_command(tmp_path):
    config = ("--config=configs/mnist5k.py:control", f"--config.variant={TINY}")
    sizes = (*config, "--num_labeled=100", "--num_test=1000", "--num_classes=10")
    more = (f"--save={tmp_path}", "--price_per_chip_hour=1.5")
    process = run_plan(*sizes, "--topology=v5e:2x2", "--stages=evaluate", "--json", *more)
    assert process.returncode == 0, process.stderr
    assert f"evaluate: saved as {tmp_path / 'evaluate.executable'}" in process.stderr
    assert (tmp_path / "evaluate.executable").stat().st_size == json.loads((tmp_path / "evaluate.json").read_text())[
        "bytes"
    ]
    (plan,) = json.loads(process.stdout)
    (program,) = plan["programs"]
    assert program["fits"] and program["devices"] == 4 and program["stage"] == "evaluate"
    assert plan["accelerator_type"] == "v5litepod-4" and plan["price"]["0.14"] == 24 * plan["days"]["0.14"] * 4 * 1.5
    large = ("--config.eval_batch_size=524288", "--config.test_resolution=112")  # 20 GB of images on a device
    process = run_plan(*sizes, "--topology=v5e:2x2", "--stages=evaluate", *large)
    assert process.returncode == 2
    assert "error: does not fit on v5e:2x2: evaluate (" in process.stderr and "v5e:" in process.stderr.split("GiB; ")[1]


def test_without_a_topology():
    process = run_plan("--config=configs/mnist5k.py:control", "--stages=evaluate")
    assert process.returncode == 2
    assert "--topology must have a value" in process.stderr and "Traceback" not in process.stderr
