"""The device mesh and the way between host arrays and global arrays. Only place that names axes."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ns_jax.errors import UserError
from ns_jax.parallel.device_order import order_devices

DATA, FSDP = "data", "fsdp"
IsSplit = Callable[[tuple[str, ...], tuple[int, ...]], bool]  # (path, shape) of a parameter to whether it is split


def make_mesh(shard_state: int = 1, devices=None) -> Mesh:
    """All devices of all hosts, or the given ones: batches are split over both axes, the state over `fsdp` alone.

    Args:
      shard_state: devices that share one copy of parameters, optimiser and EMA; 0: all of them, of a slice of TPUs
        where there are several.
      devices: jax.devices() where None.

    Raises:
      UserError: `shard_state` does not divide the number of devices, or hosts or slices have different numbers of them.
    """
    ordered = order_devices(shard_state, list(jax.devices() if devices is None else devices))
    return Mesh(ordered.devices, (DATA, FSDP), axis_types=(AxisType.Auto,) * 2)


def mesh_of_process() -> Mesh:
    """The devices of this process, for what it computes without the others."""
    return make_mesh(1, jax.local_devices())


def num_hosts(mesh: Mesh) -> int:
    """How many processes a mesh's devices belong to."""
    return len({device.process_index for device in mesh.devices.flat})


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Split dimension `axis` over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, (DATA, FSDP)))


def parameter_path(path) -> tuple[str, ...]:
    """('blocks_3', 'expand', 'kernel') of a jax key path into a state; what is not a dict's key is left out."""
    return tuple(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def state_sharding(mesh: Mesh, path, shape: tuple[int, ...], is_split: IsSplit) -> NamedSharding:
    """Where the array at a key path of parameters, their moments or averages lives.

    Arrays that `is_split` names are split over `fsdp` by the larger one of their last two dimensions that can be;
    everything else, and arrays with no such dimension, is whole on every device.
    """
    parts, names = mesh.shape[FSDP], parameter_path(path)
    last_two = range(max(0, len(shape) - 2), len(shape))
    possible = [axis for axis in last_two if shape[axis] % parts == 0]
    if parts == 1 or not names or not possible or not is_split(names, shape):
        return replicated(mesh)
    best = max(possible, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * best, FSDP))


def state_shardings(mesh: Mesh, state, is_split: IsSplit):
    """The tree of `state_sharding` of every array."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: state_sharding(mesh, path, leaf.shape, is_split), state)


def gather_params(mesh: Mesh, params, dtype, is_split: IsSplit):
    """Parameters whole on every device, for the step to use; their gradients arrive split as the state is.

    Convolutions' kernels travel in `dtype`, in which they are computed with; their gradients are added up over
    devices in their own, float32. Without these constraints the compiler splits activations by channel and
    gathers those instead.
    """

    def gather(path, leaf):
        split = state_sharding(mesh, path, leaf.shape, is_split)
        if split.is_fully_replicated:
            return leaf
        used_in = dtype if leaf.ndim >= 4 else leaf.dtype

        @jax.custom_vjp
        def whole(x):
            narrow = jax.lax.with_sharding_constraint(x.astype(used_in), split)
            return jax.lax.with_sharding_constraint(narrow, replicated(mesh)).astype(leaf.dtype)

        def gradient(_, g):
            return (jax.lax.with_sharding_constraint(g, split),)

        whole.defvjp(lambda x: (whole(x), None), gradient)
        return whole(leaf)

    return jax.tree_util.tree_map_with_path(gather, params)


def place(sharding: NamedSharding, array: np.ndarray) -> jax.Array:
    """A host array that every host holds, as a global array; each device fetches its own part.

    Not `jax.device_put`, which compares the value on all hosts and for it gathers as many copies on every device.
    """
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def place_whole(mesh: Mesh, tree):
    """`place` of every array of a tree, whole on every device."""
    return jax.tree.map(lambda leaf: place(replicated(mesh), leaf), tree)


def split_by_batch(mesh: Mesh, tree, axis: int = 0):
    """Inside a jitted function: keeps arrays split over the devices by dimension `axis`."""
    return jax.lax.with_sharding_constraint(tree, batch_sharding(mesh, axis))


@functools.cache
def _copy_everywhere(mesh: Mesh):
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))


def whole_on_host(mesh: Mesh, tree):
    """NumPy arrays of a tree that may be split over the devices of several hosts, which all must call this."""
    return jax.device_get(_copy_everywhere(mesh)(tree))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def host_rows(batch_size: int) -> slice:
    """The rows of a global batch that this host feeds."""
    per_host = batch_size // jax.process_count()
    return slice(jax.process_index() * per_host, (jax.process_index() + 1) * per_host)


def check_divides(name: str, batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises UserError if the batch cannot be split evenly over the devices, and there into `parts`."""
    unit = mesh.size * parts
    if batch_size % unit:
        near = max(unit, batch_size // unit * unit)
        each = f" in {parts} parts each (parallel.accumulation_steps)" if parts > 1 else ""
        raise UserError(f"{name}={batch_size} cannot be split over {mesh.size} devices{each}; {near} can")


def to_global(mesh: Mesh, host_batch):
    """This host's rows (tree of NumPy arrays) to global arrays, split by batch."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), host_batch)


def to_host(array: jax.Array) -> np.ndarray:
    """This host's rows of a global array that is split by batch."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
