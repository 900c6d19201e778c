"""The device mesh and the way between host arrays and global arrays. Only place that names axes."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ns_jax.errors import UserError

DATA = "data"


def make_mesh() -> Mesh:
    """All devices of all hosts along one data axis."""
    return jax.make_mesh((jax.device_count(),), (DATA,), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Split the leading dimension over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def host_rows(batch_size: int) -> slice:
    """The rows of a global batch that this host feeds."""
    per_host = batch_size // jax.process_count()
    return slice(jax.process_index() * per_host, (jax.process_index() + 1) * per_host)


def check_divides(name: str, batch_size: int, mesh: Mesh) -> None:
    """Raises UserError if the batch cannot be split evenly over the devices."""
    if batch_size % mesh.size:
        near = max(mesh.size, batch_size // mesh.size * mesh.size)
        raise UserError(f"{name}={batch_size} cannot be split over {mesh.size} devices; {near} can")


def to_global(mesh: Mesh, host_batch):
    """This host's rows (tree of NumPy arrays) to global arrays, split by batch."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), host_batch)


def to_host(array: jax.Array) -> np.ndarray:
    """This host's rows of a global array that is split by batch."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
