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
from ns_jax.planning.hardware import describe_topology
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
def test_the_command():
    config = ("--config=configs/mnist5k.py:control", f"--config.variant={TINY}")
    sizes = (*config, "--num_labeled=100", "--num_test=1000", "--num_classes=10")
    process = run_plan(*sizes, "--topology=v5e:2x2", "--stages=evaluate", "--json")
    assert process.returncode == 0, process.stderr
    (plan,) = json.loads(process.stdout)
    (program,) = plan["programs"]
    assert program["fits"] and program["devices"] == 4 and program["stage"] == "evaluate"
    large = ("--config.eval_batch_size=524288", "--config.test_resolution=112")  # 20 GB of images on a device
    process = run_plan(*sizes, "--topology=v5e:2x2", "--stages=evaluate", *large)
    assert process.returncode == 2
    assert "error: does not fit on v5e:2x2: evaluate (" in process.stderr and "v5e:" in process.stderr.split("GiB; ")[1]


def test_without_a_topology():
    process = run_plan("--config=configs/mnist5k.py:control", "--stages=evaluate")
    assert process.returncode == 2
    assert "--topology must have a value" in process.stderr and "Traceback" not in process.stderr
