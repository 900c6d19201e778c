"""Large models and many devices: the same numbers, in less memory on each device."""

import dataclasses

import jax
import numpy as np
import pytest

from ns_jax.errors import UserError
from ns_jax.models.base import BuildOptions, build_network
from ns_jax.models.efficientnet.stacking import unstack_blocks
from ns_jax.parallel.mesh import FSDP, make_mesh, state_sharding, whole_on_host
from tests.training.short_run import DEEP, LOSS, OPTIONS, SETTINGS, SMALL, create_split_state, mesh_of, train

pytestmark = pytest.mark.usefixtures("quick_compilation")
STILL = BuildOptions(dropout_rate=0.0)  # loops and other orders draw other noise


IN_TWO_PARTS = dataclasses.replace(SETTINGS, accumulation_steps=2)


def assert_close(have, wanted, atol=3e-5):
    assert jax.tree.structure(have) == jax.tree.structure(wanted)
    for left, right in zip(jax.tree.leaves(have), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(left, right, atol=atol)


@pytest.fixture(scope="module")
def on_one():
    return train(1)


@pytest.mark.parametrize("shard_state", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_split_state_trains_alike(on_one, shard_state):
    losses, state = train(8, shard_state=shard_state)
    np.testing.assert_allclose(losses, on_one[0], rtol=2e-5)
    assert_close(state.ema_params, on_one[1].ema_params)


@pytest.fixture(scope="module")
def split():
    """A fresh state of the demo's model on eight devices, an eighth on each."""
    return create_split_state(8, 8, build_network(SMALL, 10))


def test_split_state_needs_its_share_of_memory(split):
    """Of the arrays that are split, each device has one part; they are nearly all of it."""
    in_parts = whole = here = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(split):
        part = leaf.addressable_shards[0].data
        if state_sharding(make_mesh(8), path, leaf.shape, SMALL.is_split).is_fully_replicated:
            assert part.shape == leaf.shape
            whole += leaf.nbytes
        else:
            assert part.nbytes * 8 == leaf.nbytes
            in_parts += leaf.nbytes
        here += part.nbytes
    assert here == whole + in_parts // 8 and in_parts > 10 * whole


def test_accumulation_is_batch_norm_in_groups():
    """One device that takes its batch in two parts does what two devices with statistics of their own do."""
    want = train(2, options=dataclasses.replace(OPTIONS, bn_groups=2))
    losses, state = train(1, settings=IN_TWO_PARTS)
    np.testing.assert_allclose(losses, want[0], rtol=2e-5)
    assert_close(state.ema_params, want[1].ema_params)
    assert_close(state.batch_stats, want[1].batch_stats)


@pytest.mark.slow
def test_each_device_takes_its_own_rows_in_parts():
    """Two devices that take their rows in two parts do what one does with the rows in another order."""
    still = {"options": STILL, "settings": IN_TWO_PARTS}
    other_order = lambda rows: rows.reshape(2, 2, -1, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)
    want = train(1, change_batch=lambda batch: jax.tree.map(other_order, batch), **still)
    losses, state = train(2, **still)
    np.testing.assert_allclose(losses, want[0], rtol=2e-5)
    assert_close(state.ema_params, want[1].ema_params)


@pytest.mark.slow  # its parts, each by itself, are in this file, test_stacking and test_step
def test_loops_split_state_and_sampling_at_once():
    """Equal blocks as loops, rematerialisation, split state and a sampled labeled batch, against none of them."""
    sampled = dataclasses.replace(SETTINGS, loss=dataclasses.replace(LOSS, labeled_sample_prob=0.5))
    changes = {"architecture": DEEP, "settings": sampled}
    want = train(1, options=STILL, **changes)
    loops = dataclasses.replace(STILL, scan_blocks=True, remat=True)
    losses, state = train(4, shard_state=2, options=loops, **changes)
    np.testing.assert_allclose(losses, want[0], rtol=5e-5)
    assert any("_to_" in name for name in state.params)
    for name in ("params", "batch_stats", "ema_params"):
        assert_close(unstack_blocks(getattr(state, name)), getattr(want[1], name), atol=1e-4)


def test_kernels_are_split_by_their_larger_dimension():
    mesh = mesh_of(8, 4)
    key = jax.tree_util.DictKey
    axis = lambda name, shape: list(state_sharding(mesh, (key("expand"), key(name)), shape, SMALL.is_split).spec)
    assert axis("kernel", (1, 1, 16, 96)) == [None, None, None, FSDP]
    assert axis("kernel", (3, 1, 1, 96, 16)) == [None, None, None, FSDP]
    assert axis("kernel", (3, 3, 1, 30)) == axis("bias", (96,)) == axis("scale", (3, 96)) == []


def test_whole_on_host(split):
    assert_close(whole_on_host(mesh_of(8, 8), split.params), jax.device_get(split.params), atol=0)


def test_number_of_devices_that_share_a_state():
    assert dict(make_mesh(0).shape) == {"data": 1, "fsdp": 8} and dict(make_mesh().shape) == {"data": 8, "fsdp": 1}
    with pytest.raises(UserError, match="parallel.shard_state=3 does not divide the 8 devices"):
        make_mesh(3)
