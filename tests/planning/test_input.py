"""The data side of a plan."""

import dataclasses

import pytest

from ns_jax.configs import b0_ns, l2_iter3
from ns_jax.planning.hardware import GIB, parse_topology
from ns_jax.planning.input import InputPlan, host_memory, label_store_bytes, plan_input, shortages
from ns_jax.planning.programs import Counts
from tests.planning.shapes import make_estimate, supervised

V3 = parse_topology("v3:32x32")


def step_of_a_second(**changes):
    """A training step of 59,392 images that takes a second at half of the peak."""
    flops = {"dot": 0, "conv": int(2048 * 61.5e12 / 2), "depthwise": 0}
    return make_estimate(images=59392, flops=flops, fits=True, **changes)


def test_what_l2_takes_of_a_host():
    """232 images a host and step; of 29 images 28 have a pseudo-label, which is a read of its own."""
    part = plan_input(step_of_a_second(), l2_iter3.get_config(), V3, 0.5, 110_000)
    assert part.needed == pytest.approx(232) and part.needed_at_most == pytest.approx(464)
    assert part.megabytes == pytest.approx(232 * 0.11)
    assert part.requests == pytest.approx(59392 * (1 + 28 / 29))
    assert part.shortage() == ""


def test_cost_of_an_image_grows_with_its_pixels():
    """1.6 ms at 224 px with RandAugment were measured, and 5.3 at 475 px; B0's student has no RandAugment."""
    config, folder = l2_iter3.get_config(), "folder:labeled"
    config.data.labeled = folder
    cores = V3.generation.host.vcpus // 2
    for resolution, milliseconds in ((224, 1.6), (475, 5.3)):
        part = plan_input(step_of_a_second(resolution=resolution), config, V3, 0.5, 110_000)
        assert part.gives == pytest.approx(1000 * cores / milliseconds, rel=0.05)
        assert part.limit.startswith(f"{cores} cores at ")
    without = b0_ns.get_config()
    without.data.labeled = folder
    assert plan_input(step_of_a_second(resolution=224), without, V3, 0.5, 110_000).gives == pytest.approx(24_000)


def test_reading_by_one_process_is_a_limit():
    config = b0_ns.get_config()
    config.data.labeled = config.data.unlabeled = "arrayrecord:images"
    part = plan_input(step_of_a_second(resolution=224), config, V3, 0.5, 110_000)
    assert part.gives == pytest.approx(7800) and part.limit == "one process reads arrayrecord no faster"


def test_arrays_have_no_data_side():
    assert plan_input(make_estimate(resolution=None), supervised(), V3, 0.5, 110_000) is None


def test_a_shortage_is_one_line():
    part = InputPlan("train", 5200.0, 9000.0, 4100.0, "24 cores at 5.9 ms an image, an assumption", 1.0, 1.0, 48)
    assert part.shortage() == (
        "train: input gives 4,100 images/s a host where 5,200 are needed (24 cores at 5.9 ms an image, an assumption): "
        "the stage takes 1.3 times as long"
    )
    assert dataclasses.replace(part, gives=5200.0).shortage() == ""


def test_memory_of_a_host():
    """300 million files of a folder are more than a host of v5e has; shards of them are not."""
    config, counts = l2_iter3.get_config(), Counts()
    training = step_of_a_second(moments={"restart": GIB})
    for prefix, lines in (("folder", 1), ("arrayrecord", 0)):
        config.data.unlabeled = f"{prefix}:unlabeled"
        topology = parse_topology("v5e:16x16")
        memory = host_memory([training], config, topology, counts, 110_000)
        assert memory["a restored checkpoint"] == 4 * GIB
        short = shortages([], memory, config, topology, counts)
        assert len(short) == lines
        assert all("ns_jax.pack" in line and line.startswith("host memory: 3") for line in short)
    assert memory["draws of training"] == pytest.approx(300e6 * 1.0625 + 1.28e6 * 16, rel=0.01)
    assert label_store_bytes(config, counts) == 81_000_000 * 2020
    config.label_top_k = 32
    assert label_store_bytes(config, counts) == 81_000_000 * (32 * 4 + 2 + 20)
    assert label_store_bytes(supervised(), counts) == 0


def test_a_bucket_has_a_rate():
    config = l2_iter3.get_config()
    part = plan_input(step_of_a_second(), config, V3, 0.5, 110_000)
    assert shortages([part], {}, config, V3, Counts()) == []
    config.data.unlabeled = "arrayrecord:gs://bucket/unlabeled-*"
    part = plan_input(step_of_a_second(), config, V3, 0.5, 110_000)
    (line,) = shortages([part], {}, config, V3, Counts())
    assert line.startswith("train: 116,736 reads/s are needed where a bucket begins with 5,000")
    config.data.order = "lanes"
    part = plan_input(step_of_a_second(), config, V3, 0.5, 110_000)
    assert part.requests < 5000 and shortages([part], {}, config, V3, Counts()) == []
    memory = host_memory([], config, V3, Counts(), 110_000)
    assert memory["windows of lanes"] == 2 * 10_000 * 110_000  # of 256 hosts, as many as lanes
