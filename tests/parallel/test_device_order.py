"""Meshes of TPUs that are not there: of every usual shape, and of several slices."""

import dataclasses
import importlib.util
import itertools
import math

import jax
import numpy as np
import pytest

from ns_jax.errors import UserError
from ns_jax.parallel.device_order import order_devices
from ns_jax.parallel.mesh import DATA, FSDP, make_mesh
from ns_jax.planning.hardware import GENERATIONS, describe_topology

KINDS = {
    "v3": "TPU v3",
    "v4": "TPU v4",
    "v5e": "TPU v5 lite",
    "v5p": "TPU v5",
    "v6e": "TPU v6 lite",
}  # as libtpu has them
SIZES = (2, 4, 8, 12, 16, 32)  # of a dimension, in chips


@dataclasses.dataclass(frozen=True, eq=False)
class Device:
    """What ordering looks at in a TPU device."""

    id: int
    device_kind: str
    coords: tuple[int, int, int]
    core_on_chip: int
    process_index: int
    slice_index: int = 0
    platform: str = "tpu"


def fake_devices(name: str, shape: tuple[int, ...], slice_index: int = 0) -> list[Device]:
    """The devices of a slice in the order of their hosts, which have 2x2 chips each."""
    generation, (x, y, z) = GENERATIONS[name], (*shape, 1)[:3]
    hosts = itertools.product(range(z), range(0, y, 2), range(0, x, 2))
    first = slice_index * math.prod(shape) // 4
    devices = []
    for host, (k, j, i) in enumerate(hosts):
        for dj, di, core in itertools.product(range(2), range(2), range(generation.devices_per_chip)):
            coords = (i + di, j + dj, k)
            devices.append(Device(len(devices), KINDS[name], coords, core, first + host, slice_index))
    return devices


def usual_topologies(least: int, most: int) -> list[tuple[str, tuple[int, ...]]]:
    """Of every generation, with `least` to `most` chips."""
    topologies = []
    for generation in GENERATIONS.values():
        for shape in itertools.combinations_with_replacement(SIZES, generation.dimensions):
            if least <= math.prod(shape) <= min(most, generation.pod_chips):
                topologies.append((generation.name, shape))
    return topologies


def shares(devices: int) -> list[int]:
    return [0, *(2**power for power in range(13) if devices % 2**power == 0)]


def test_devices_of_every_usual_topology_are_ordered():
    """Every device once; a block of the torus shares a state wherever no note says that it does not."""
    topologies = usual_topologies(16, 1024)
    assert len(topologies) >= 60
    for name, shape in topologies:
        devices = fake_devices(name, shape)
        for shard_state in shares(len(devices)):
            ordered = order_devices(shard_state, devices)
            size = shard_state or len(devices)
            assert ordered.devices.shape == (len(devices) // size, size)
            assert sorted(device.id for device in ordered.devices.flat) == list(range(len(devices)))
            if name != "v3" and "order of their hosts" not in ordered.note:
                assert all(is_block(group) for group in ordered.devices)


def is_block(group) -> bool:
    """Whether devices fill a box."""
    coords = np.array([device.coords for device in group])
    extents = [len(set(column)) for column in coords.T]
    return math.prod(extents) == len(group) and all(np.ptp(column) + 1 == len(set(column)) for column in coords.T)


@pytest.mark.parametrize(
    ("name", "shape", "shard_state"),
    [("v6e", (8, 8), 16), ("v6e", (16, 16), 4), ("v6e", (16, 16), 64), ("v4", (8, 8, 8), 4), ("v5p", (8, 8, 8), 16)],
)
def test_where_no_whole_dimensions_fit_blocks_share_a_state(name, shape, shard_state):
    ordered = order_devices(shard_state, fake_devices(name, shape))
    assert ordered.note == f"the {shard_state} devices that share a state are a block of the torus, " + (
        "not whole dimensions of it"
    )
    assert all(is_block(group) for group in ordered.devices)
    assert order_devices(1, fake_devices(name, shape)).note == ""


def test_sizes_that_jax_cannot_factor_follow_the_hosts():
    devices = fake_devices("v5p", (8, 8, 28))
    ordered = order_devices(16, devices)
    assert ordered.note.endswith("stand in the order of their hosts: jax knows no better one")
    assert ordered.devices.ravel().tolist() == devices


def test_slices_are_parallel_in_data_alone():
    devices = [device for index in (1, 0, 2) for device in fake_devices("v5e", (4, 4), index)]
    for shard_state in (0, 1, 4, 16):
        ordered = order_devices(shard_state, devices).devices
        assert ordered.shape == (48 // (shard_state or 16), shard_state or 16)
        assert [device.slice_index for device in ordered.flat] == [0] * 16 + [1] * 16 + [2] * 16
    with pytest.raises(
        UserError, match=r"^parallel.shard_state=48 does not divide the 16 devices of a slice \(there are 3, "
    ):
        order_devices(48, devices)


def test_slices_that_differ_are_refused():
    devices = fake_devices("v5e", (4, 4)) + fake_devices("v5e", (4, 8), 1)
    with pytest.raises(UserError, match="^the slices cannot share a mesh: slice 0 has 16 devices and slice 1 has 32; "):
        order_devices(1, devices)


def test_hosts_that_differ_are_refused():
    devices = fake_devices("v5e", (4, 4))[:-2]
    with pytest.raises(UserError, match="^the hosts cannot share a mesh: host 3 has 2 devices and host 0 has 4; "):
        order_devices(1, devices)


def test_devices_with_a_hole_follow_the_hosts():
    devices = fake_devices("v6e", (4, 8))
    devices = devices[:8] + devices[16:]
    assert order_devices(4, devices).devices.ravel().tolist() == devices


def test_a_share_that_does_not_divide_names_those_that_do():
    with pytest.raises(
        UserError, match="^parallel.shard_state=24 does not divide the 64 devices; 1, 2, 4, 8, 16, 32, 64 do, "
    ):
        order_devices(24, fake_devices("v6e", (8, 8)))


def test_this_machines_devices_keep_their_order():
    """As `jax.make_mesh` has them, with which checkpoints and results so far were made."""
    for shard_state in (1, 2, 8):
        theirs = jax.make_mesh((8 // shard_state, shard_state), (DATA, FSDP), axis_types=make_mesh().axis_types)
        assert make_mesh(shard_state) == theirs


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_meshes_of_the_tpu_compilers_topologies():
    """As `test_devices_of_every_usual_topology_are_ordered`, of the devices that libtpu describes."""
    for name, shape in usual_topologies(16, 4096):
        devices = describe_topology(f"{name}:{'x'.join(map(str, shape))}").devices
        for shard_state in shares(len(devices)):
            assert make_mesh(shard_state, devices).devices.size == len(devices)
