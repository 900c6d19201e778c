"""What is said of a compiled program, or of one that the compiler refused."""

import dataclasses

import jax
import pytest

from ns_jax.parallel.mesh import make_mesh
from ns_jax.planning.estimate import Traffic, argument_bytes, estimate, used_bytes, would_fit
from ns_jax.planning.hardware import GENERATIONS, parse_topology
from ns_jax.planning.iteration import iteration_programs
from ns_jax.planning.moments import moments_of
from tests.planning.shapes import COUNTS, GIB, SMALL, TINY_TEACHER, make_estimate, supervised
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_slice_that_would_fit():
    """4 GiB stay and 16 shrink with the devices: 20 fit on as many larger devices, or 4 + 8 on twice as many."""
    assert would_fit(make_estimate(devices=1024, images=30720), GENERATIONS["v3"]) == "v3:32x32"
    assert parse_topology("v3:32x32").devices == 2048
    assert would_fit(make_estimate(), GENERATIONS["v3"]) == "v4:8x16x16"  # 20 GiB of 30.75, on as many devices
    assert would_fit(make_estimate(memory={"parameters": 200 * GIB}, memory_total=300 * GIB), GENERATIONS["v3"]) is None


def test_days_are_of_the_slowest_bound():
    v3 = GENERATIONS["v3"]
    training = make_estimate(runs=86400)
    assert training.roofline(v3)["compute"] == pytest.approx(1.0)
    assert training.days(v3, 0.5) == pytest.approx(2.0)
    assert training.days(v3, 1.0) == pytest.approx(1.0)
    slow = dataclasses.replace(training, hbm_bytes=int(3 * v3.hbm_bandwidth))
    assert slow.days(v3, 0.5) == pytest.approx(3.0)


def test_depthwise_convolutions_are_the_vector_units():
    """Utilization is a share of the matrix units' peak, of all FLOPs; the bound is of each unit's own."""
    v3 = GENERATIONS["v3"]
    depthwise = make_estimate(flops={"dot": 0, "conv": 0, "depthwise": int(2048 * 61.5e12)})
    assert depthwise.peak_seconds(v3) == pytest.approx(1.0)
    assert depthwise.roofline(v3)["compute"] == pytest.approx(61.5e12 / v3.vector_flops)
    assert 25 < depthwise.roofline(v3)["compute"] < 40


def test_every_collective_has_a_latency():
    traffic = (Traffic("all-reduce", 256, 700, 340_000_000), Traffic("all-gather", 16, 50, 0))
    estimate = make_estimate(traffic=traffic, slice_transfers=50)
    assert estimate.num_collectives == 800
    sent = 340e6 / GENERATIONS["v3"].interconnect_bandwidth
    assert estimate.roofline(GENERATIONS["v3"])["network"] == pytest.approx(sent + 800 * 40e-6)


def test_between_slices_is_the_data_centres_network():
    estimate = make_estimate(slice_bytes=3_125_000_000, slice_transfers=2)
    assert estimate.roofline(GENERATIONS["v5e"])["between slices"] == pytest.approx(1.0)  # 6.4 Tbps of 256 chips
    assert "between slices" not in estimate.roofline(GENERATIONS["v4"])  # whose page does not say


def test_what_a_device_holds_beside_the_steps():
    """Of a state split over eight devices: a restart holds an eighth, what is written is whole on each."""
    config = supervised(variant=TINY, labeled_batch_size=48, eval_batch_size=48)
    training, forward = iteration_programs(config, make_mesh(8), COUNTS, TINY_TEACHER)
    sizes, moments = argument_bytes(training, 8), moments_of(training)
    assert moments["restart"] == sum(size for kind, size in sizes.items() if kind != "batch")
    assert moments["restart"] < moments["start from a model"] < 2 * moments["restart"]
    average = sum(leaf.size * 4 for leaf in jax.tree.leaves(training.memory["EMA"]))
    assert moments["model written"] == moments["restart"] + average
    assert average > 2 * sizes["EMA"]
    assert moments_of(forward) == {}


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, total memory for HLO temporaries (70.50G) "
            "exceeds HBM (15.75G).",
            70.5 * GIB,
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 16.25G of 15.48G hbm. Exceeded", 16.25 * GIB),
        ("INVALID_ARGUMENT: 3 of 4", None),
    ],
)
def test_what_the_compiler_says_of_memory(message, size):
    assert used_bytes(message) == size


@pytest.mark.slow
def test_memory_by_kind_is_what_a_device_holds():
    """Of the compiled program's arguments, on CPU devices; split over eight, a little more than an eighth."""
    held = {}
    for shard_state in (1, 8):
        program = iteration_programs(supervised(labeled_batch_size=48), make_mesh(shard_state), COUNTS, SMALL)[0]
        sizes = argument_bytes(program, 8)
        compiled = program.function.trace(*program.arguments).lower().compile()
        assert sum(sizes.values()) == pytest.approx(compiled.memory_analysis().argument_size_in_bytes, rel=0.001)
        assert sizes["optimizer"] == pytest.approx(2 * sizes["parameters"], rel=0.01)
        held[shard_state] = sum(size for kind, size in sizes.items() if kind != "batch")
    assert held[1] / 8 < held[8] < 0.2 * held[1]  # vectors are whole on each


def test_an_estimate_of_a_program_of_this_machine():
    config = supervised(variant=TINY, labeled_batch_size=48, eval_batch_size=48)
    training, forward = iteration_programs(config, make_mesh(), COUNTS, TINY_TEACHER)
    assert (training.stage, forward.stage) == ("train", "evaluate")
    result = estimate(training, 8)
    assert result.fits and result.images == 48 and result.memory["temporaries"] > 0
    assert {part.group_size for part in result.traffic} == {8}
    # Forward and backward pass are at least three forward passes.
    assert sum(result.flops.values()) > 2.5 * sum(estimate(forward, 8).flops.values())
