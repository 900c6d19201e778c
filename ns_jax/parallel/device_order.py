"""In which order devices stand in a mesh: those that share a state next to each other in the network."""

import collections
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jax.experimental import mesh_utils

from ns_jax.errors import UserError


class DeviceOrder(NamedTuple):
    """Devices of a mesh.

    Attributes:
      devices: [data, fsdp], of several slices one after the other along the first.
      note: what is not as good as it could be about the order, for people; '' where nothing is.
    """

    devices: np.ndarray
    note: str


def order_devices(shard_state: int, devices: list) -> DeviceOrder:
    """Orders devices so that `shard_state` of them, which share one copy of the state, are near each other.

    In one slice of TPUs the order is `mesh_utils`' of jax, which gives whole dimensions of the torus to each axis. It
    has none for every number: then a dimension is cut into contiguous parts, or the devices stand in the order of their
    hosts. Several slices, which only the data centre's network connects, are
    parallel in data alone: a state is never split over them. Other platforms are as jax orders them.

    Args:
      shard_state: devices that share one copy of the state; 0: all of a slice.
      devices: all devices, as `jax.devices()` lists them.

    Raises:
      UserError: `shard_state` does not divide a slice's devices, or hosts or slices have different numbers of them.
    """
    _check_alike("hosts", (device.process_index for device in devices))
    slices = _slices(devices)
    size = len(devices) // len(slices)
    shard_state = shard_state or size
    if size % shard_state:
        of = f"of a slice (there are {len(slices)}, and a state is split within one)" if len(slices) > 1 else ""
        raise UserError(
            f"parallel.shard_state={shard_state} does not divide the {size} devices {of}".rstrip()
            + f"; {_some_divisors(size)} do, and 0 takes all"
        )
    orders = [_order_of_slice((size // shard_state, shard_state), part) for part in slices]
    return DeviceOrder(np.concatenate([order.devices for order in orders]), orders[0].note)


def _slices(devices: list) -> list[list]:
    """The devices of each slice of TPUs; of other platforms, all: their `slice_index` is one of hosts."""
    if devices[0].platform != "tpu":
        return [devices]
    parts = collections.defaultdict(list)
    for device in devices:
        parts[getattr(device, "slice_index", 0)].append(device)
    _check_alike("slices", (getattr(device, "slice_index", 0) for device in devices))
    return [parts[index] for index in sorted(parts)]


def _check_alike(what: str, owners: Iterable[int]) -> None:
    """Raises UserError if owners (an index for each device) have different numbers of devices."""
    counts = collections.Counter(owners)
    least, most = min(counts.values()), max(counts.values())
    if least != most:
        few, many = (next(i for i, count in counts.items() if count == number) for number in (least, most))
        raise UserError(
            f"the {what} cannot share a mesh: {what[:-1]} {few} has {least} devices and {what[:-1]} {many} has {most}; "
            f"start the run on {what} that are alike"
        )


def _order_of_slice(shape: tuple[int, int], devices: list) -> DeviceOrder:
    """Devices of one slice, or of another platform, as an array of a shape."""
    try:
        return DeviceOrder(mesh_utils.create_device_mesh(shape, devices), "")
    except (NotImplementedError, AssertionError):  # no whole dimensions have this product; the devices are no block
        pass
    try:
        ordered = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    except (NotImplementedError, AssertionError, TypeError, ValueError):  # jax 0.10.2 misses factors of 28, for example
        note = f"the {shape[1]} devices that share a state stand in the order of their hosts: jax knows no better one"
        return DeviceOrder(np.asarray(devices).reshape(shape), note)
    note = f"the {shape[1]} devices that share a state are a block of the torus, not whole dimensions of it"
    return DeviceOrder(ordered, note)


def _some_divisors(number: int) -> str:
    """'1, 2, 4, 8': the first divisors."""
    divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
    return ", ".join(map(str, divisors[:12])) + (", ..." if len(divisors) > 12 else "")
