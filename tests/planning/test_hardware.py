import importlib.util

import pytest

from ns_jax.errors import UserError
from ns_jax.planning.hardware import GENERATIONS, describe_topology, parse_price, parse_topology, slices

DEVICES = {
    "v3:32x32": 2048,
    "v4:4x4x8": 128,
    "v5e:16x16": 256,
    "v5p:16x16x24": 6144,
    "v6e:16x16": 256,
    "2xv5e:16x16": 512,
    "3xv5p:4x4x4": 192,
}


@pytest.mark.parametrize(("text", "devices"), DEVICES.items())
def test_topologies(text, devices):
    topology = parse_topology(text)
    assert (topology.devices, topology.name, topology.hosts) == (devices, text, topology.chips // 4)
    assert topology.generation is GENERATIONS[text.split(":")[0].split("x")[-1]]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("v3:32x32", "v3-2048"),
        ("v4:4x4x8", "v4-256"),
        ("v5e:16x16", "v5litepod-256"),
        ("v5p:8x8x8", "v5p-1024"),
        ("v6e:16x16", "v6e-256"),
        ("2xv5e:16x16", "2 slices of v5litepod-256"),
    ],
)
def test_what_to_ask_for(text, name):
    """As cloud.google.com/tpu/docs/supported-tpu-configurations names them: some count cores, some chips."""
    assert parse_topology(text).accelerator_type == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v3",
        "v9:2x2",
        "v3:",
        "v3:4",
        "v3:2x2x2",
        "v3:0x4",
        "v5e:3x3",
        "v5e:32x32",
        "v4:4x4",
        "v4:-4x4x4",
        "v3:32x32,2",
        "gpu:8",
        "0xv5e:4x4",
        "65xv5e:4x4",
        "xv5e:4x4",
        "2xv5e",
        "2x2xv5e:4x4",
    ],
)
def test_impossible_topologies(text):
    with pytest.raises(UserError, match=rf"^topology '{text}': .*v") as error:
        parse_topology(text)
    assert "\n" not in str(error.value)


def test_unknown_generations_name_the_known():
    with pytest.raises(UserError, match="no TPU generation 'v2'; known are v3, v4, v5e, v5p, v6e"):
        parse_topology("v2:4x4")


def test_a_slice_that_is_too_large():
    with pytest.raises(UserError, match="4096 chips, but the largest slice of v5e has 256"):
        parse_topology("v5e:64x64")


def test_pods():
    """Per pod, as Google's pages have it."""
    assert GENERATIONS["v3"].flops * 2048 == pytest.approx(126e15, rel=0.01)
    assert GENERATIONS["v4"].flops * 4096 == pytest.approx(1.1e18, rel=0.03)
    assert GENERATIONS["v5e"].flops * 256 == pytest.approx(50.63e15, rel=0.01)
    assert GENERATIONS["v6e"].flops * 256 == pytest.approx(234.9e15, rel=0.01)
    assert GENERATIONS["v5e"].interconnect_bandwidth * 256 == pytest.approx(51.2e12)  # all-reduce bandwidth
    assert GENERATIONS["v6e"].interconnect_bandwidth * 256 == pytest.approx(102.4e12)


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS)
def test_slices_are_known_topologies(generation):
    devices = [parse_topology(text).devices for text in slices(generation)]
    assert devices == sorted(devices) and len(devices) > 5


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize(("text", "devices"), DEVICES.items())
def test_the_tpu_compiler_has_as_many_devices(text, devices):
    assert len(describe_topology(text).devices) == devices


def test_without_libtpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install libtpu"):
        describe_topology("v5e:2x2")


@pytest.mark.parametrize("text", ["cheap", "0", "-1.2", "nan", "inf", "", "1,2"])
def test_a_price_is_a_positive_number(text):
    assert parse_price(None) is None and parse_price("1.2") == 1.2
    with pytest.raises(UserError, match=f"^--price_per_chip_hour={text}: a positive number is needed, as in"):
        parse_price(text)
