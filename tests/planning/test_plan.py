"""The plan of an experiment: that it is of the very programs that run, and what it says."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys

import jax
import pytest
from etils import epath

from configs import mnist5k
from ns_jax.models.variants import get_variant
from ns_jax.parallel.mesh import make_mesh
from ns_jax.planning import search as search_module
from ns_jax.planning.collectives import find_collectives
from ns_jax.planning.estimate import Estimate, argument_bytes, estimate, used_bytes, would_fit
from ns_jax.planning.hardware import GENERATIONS, describe_topology, parse_topology, slices
from ns_jax.planning.programs import Counts, programs
from ns_jax.planning.search import levels, search
from ns_jax.stages import inference, iteration, train
from tests.conftest import REPO

GIB = 2**30
MAX_METRICS = 6
COUNTS = Counts(labeled=100, unlabeled=3900, test=1000, classes=10)
SMALL = (get_variant("efficientnet-small"), 28)
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def supervised(**changes):
    config = mnist5k.get_config("control")
    config.eval_batch_size = 480
    config.update(changes)
    return config


def signature(arguments):
    return jax.tree.map(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), arguments)


def test_the_programs_are_those_of_a_run(tmp_path, monkeypatch):
    """Same arguments, and as often: each call of a compiled function in the smoke form's two iterations recorded."""
    calls, stages = {}, iter(["evaluate", "label", "evaluate"])
    make_training, make_predict = train.make_training, inference.make_predict

    def recorded(function, stage):
        def call(*arguments):
            calls.setdefault(stage, []).append(signature(arguments))
            return function(*arguments)

        return call

    def make_training_recorded(*args):
        made = make_training(*args)
        return made._replace(step=recorded(made.step, "train"))

    monkeypatch.setattr(train, "make_training", make_training_recorded)
    monkeypatch.setattr(inference, "make_predict", lambda *args: recorded(make_predict(*args), next(stages)))
    config = mnist5k.get_config("smoke")
    iteration.run(config, epath.Path(tmp_path))
    wanted = {}
    for _, one in iteration.iterations(config):
        for program in programs(one, make_mesh(), COUNTS, SMALL):
            wanted.setdefault(program.stage, []).extend([signature(program.arguments)] * program.runs)
    assert calls.keys() == wanted.keys()
    for stage, found in calls.items():
        assert found == wanted[stage], stage


def make_estimate(**changes):
    known = {"stage": "train", "images": 30720, "resolution": 475, "runs": 100, "devices": 2048, "fits": False,
             "memory": {"parameters": 4 * GIB, "batch": 2**20}, "memory_total": 20 * GIB, "code_bytes": None, "hbm_bytes": None,
             "flops": {"dot": 0, "conv": int(2048 * 61.5e12), "depthwise": 0}, "traffic": (), "compile_seconds": 1.0}  # fmt: skip
    return Estimate(**known | changes)


def test_a_slice_that_would_fit():
    """4 GiB stay and 16 shrink with the devices: 20 fit on as many larger devices, or 4 + 8 on twice as many."""
    assert would_fit(make_estimate(devices=1024, images=30720), GENERATIONS["v3"]) == "v3:32x32"
    assert parse_topology("v3:32x32")[1] == 2048
    assert would_fit(make_estimate(), GENERATIONS["v3"]) == "v4:8x16x16"  # 20 GiB of 30.75, on as many devices
    assert would_fit(make_estimate(memory={"parameters": 200 * GIB}, memory_total=300 * GIB), GENERATIONS["v3"]) is None


@pytest.mark.parametrize("row", GENERATIONS.values(), ids=GENERATIONS)
def test_slices_are_known_topologies(row):
    devices = [parse_topology(text)[1] for text in slices(row)]
    assert devices == sorted(devices) and len(devices) > 5


def test_days_are_of_the_slowest_bound():
    row = GENERATIONS["v3"]
    one = make_estimate(runs=86400)
    assert one.roofline(row)["compute"] == pytest.approx(1.0)
    assert one.days(row, 0.5) == pytest.approx(2.0)
    assert one.days(row, 1.0) == pytest.approx(1.0)
    slow = dataclasses.replace(one, hbm_bytes=int(3 * row.hbm_bandwidth))
    assert slow.days(row, 0.5) == pytest.approx(3.0)


@pytest.mark.parametrize(("message", "size"), [
    ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, total memory for HLO temporaries (70.50G) exceeds HBM (15.75G).", 70.5 * GIB),
    ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 16.25G of 15.48G hbm. Exceeded", 16.25 * GIB),
    ("INVALID_ARGUMENT: 3 of 4", None)])  # fmt: skip
def test_what_the_compiler_says_of_memory(message, size):
    assert used_bytes(message) == size


def test_search_takes_the_cheapest_level_and_its_cheapest_member(monkeypatch):
    """A stand-in compiler: memory halves with recomputation, and the state with its shares."""
    def compiled(program, devices):
        parallel = program
        size = 20 * GIB / (2 if parallel.remat else 1) / parallel.accumulation_steps + 8 * GIB / parallel.shard_state
        tried.append((parallel.remat, parallel.shard_state, parallel.accumulation_steps))
        return make_estimate(fits=size <= limit, memory_total=int(size))

    monkeypatch.setattr(search_module, "estimate", compiled)
    monkeypatch.setattr(search_module, "argument_bytes", lambda program, devices: {"state": 8 * GIB // program.shard_state})
    config = supervised(labeled_batch_size=4096)
    found = {}
    for limit in (30 * GIB, 12 * GIB, 6 * GIB, GIB // 100):
        tried = []
        best = search(config, 1024, limit, lambda one: one.parallel, lambda line: None)
        found[limit // GIB] = best and (best[0].parallel.remat, best[0].parallel.shard_state,
                                        best[0].parallel.accumulation_steps)  # fmt: skip
        if limit == 30 * GIB:
            assert tried == [(False, 64, 1), (False, 1, 1)]
    assert found == {30: (False, 1, 1), 12: (True, 4, 1), 6: (True, 16, 2), 0: None}
    assert all(4096 // 1024 % one["accumulation_steps"] == 0 for level in levels(config, 1024) for one in level)


def test_memory_by_kind_is_what_a_device_holds():
    """On CPU devices, of the arguments that the compiled program takes."""
    for shard_state in (1, 8):
        program = next(iter(programs(supervised(labeled_batch_size=48), make_mesh(shard_state), COUNTS, SMALL)))
        sizes = argument_bytes(program, 8)
        compiled = program.function.trace(*program.arguments).lower().compile()
        assert sum(sizes.values()) == pytest.approx(compiled.memory_analysis().argument_size_in_bytes, rel=0.001)
        assert sizes["optimizer"] == pytest.approx(2 * sizes["parameters"], rel=0.01)


def test_an_estimate_of_a_program_of_this_machine():
    program = next(iter(programs(supervised(labeled_batch_size=48), make_mesh(), COUNTS, SMALL)))
    found = estimate(program, 8)
    assert found.fits and found.images == 48 and found.memory["temporaries"] > 0
    assert {one.group_size for one in found.traffic} == {8}
    # Forward and backward pass are at least three forward passes.
    forward = [one for one in programs(supervised(eval_batch_size=48), make_mesh(), COUNTS, SMALL)][-1]
    assert forward.stage == "evaluate"
    assert sum(found.flops.values()) > 2.5 * sum(estimate(forward, 8).flops.values())


@needs_libtpu
@pytest.mark.parametrize(("shard_state", "bn_group_size"), [(1, 0), pytest.param(2, 2, marks=pytest.mark.slow)])
def test_every_collective_of_the_step_is_accounted_for(shard_state, bn_group_size):
    """What four TPU devices send in a student's step: batch norm's sums, gradients, metrics, and split kernels."""
    config = dict(iteration.iterations(mnist5k.get_config("smoke")))["iteration_1"]
    config.bn_group_size = bn_group_size
    mesh = make_mesh(shard_state, describe_topology("v5e:2x2").devices)
    program = next(one for one in programs(config, mesh, COUNTS, SMALL) if one.stage == "train")
    found = find_collectives(program.function.trace(*program.arguments).lower().compile().as_text())
    assert all(one.is_exact and one.times == 1 for one in found)
    params, statistics = (sum(4 * leaf.size for leaf in jax.tree.leaves(program.memory[kind]))
                          for kind in ("parameters", "batch norm statistics"))  # fmt: skip
    split = sum(4 * leaf.size for leaf in jax.tree.leaves(program.memory["parameters"])
                if not leaf.sharding.is_fully_replicated)  # fmt: skip
    in_norm = [one for one in found if re.search(r"\(EfficientNet\).*bn/reduce_sum$", one.op_name)]
    sums = [one for one in in_norm if "transpose" not in one.op_name]
    assert sum(one.bytes for one in sums) == statistics and {one.group_size for one in sums} == {bn_group_size or 4}
    gathered = [one for one in found if one.kind == "all-gather"]
    assert sum(one.bytes for one in gathered) <= split and {one.group_size for one in gathered} <= {2}
    rest = [one for one in found if one not in sums and one not in gathered]
    assert all("transpose(jvp" in one.op_name for one in rest)  # gradients; metrics travel with them
    if shard_state == 1:
        assert 0 < sum(one.bytes for one in rest) - params <= 4 * MAX_METRICS
    else:  # split gradients are added up over one axis, and their parts over the other
        assert params + split / 2 < sum(one.bytes for one in rest) < 2 * params


def plan(*arguments):
    return subprocess.run([sys.executable, "-m", "ns_jax.plan", *arguments], cwd=REPO, capture_output=True, text=True,
                          timeout=300)  # fmt: skip


@needs_libtpu
def test_the_command():
    sizes = ("--config=configs/mnist5k.py:control", "--num_labeled=100", "--num_test=1000", "--num_classes=10")
    process = plan(*sizes, "--topology=v5e:2x2", "--stages=evaluate", "--json")
    assert process.returncode == 0, process.stderr
    (found,) = json.loads(process.stdout)
    (program,) = found["programs"]
    assert program["fits"] and program["devices"] == 4 and program["stage"] == "evaluate"
    process = plan(*sizes, "--topology=v5e:2x2", "--stages=evaluate", "--config.eval_batch_size=80000000")
    assert process.returncode == 2
    assert "error: does not fit on v5e:2x2: evaluate (" in process.stderr and "v5e:" in process.stderr.split("GiB; ")[1]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--topology=v9:2x2"], "no TPU generation 'v9'; known are v3"),
    (["--topology=v5e:64x64"], "4096 chips, but the largest slice of v5e has 256"),
    ([], "--topology must have a value"),
    (["--topology=v5e:2x2", "--config.eval_batch_size=1001"], "eval_batch_size=1001 cannot be split over 4 devices"),
])  # fmt: skip
def test_bad_input(arguments, message):
    process = plan("--config=configs/mnist5k.py:control", "--stages=evaluate", *arguments)
    assert process.returncode == 2
    assert message in process.stderr and "Traceback" not in process.stderr
