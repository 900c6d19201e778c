"""Equal blocks as a loop, and blocks computed again for the backward pass: the same numbers."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ns_jax.models.base import build_network
from ns_jax.models.efficientnet import network
from ns_jax.models.efficientnet.network import EfficientNetModule
from ns_jax.models.efficientnet.stacking import equal_blocks, loop_name, stack_blocks, unstack_blocks
from ns_jax.models.layers import StochasticDepth
from ns_jax.models.registry import get_architecture

pytestmark = pytest.mark.usefixtures("quick_compilation")
DEEP = dataclasses.replace(get_architecture("efficientnet-small"), depth=2.0)
IMAGES = jax.random.normal(jax.random.key(0), (4, 28, 28, 3))


def create(**options):
    return EfficientNetModule(DEEP, 10, **options)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(create().init)(jax.random.key(1), IMAGES)


def stacked(variables, frozen_blocks=0):
    return {name: stack_blocks(tree, equal_blocks(DEEP, frozen_blocks)) for name, tree in variables.items()}


def gradients(model, variables):
    """(loss, new batch statistics, gradients), of single blocks."""

    def loss(params):
        logits, updates = model.apply(
            {**variables, "params": params},
            IMAGES,
            train=True,
            mutable=["batch_stats"],
            rngs={"noise": jax.random.key(2)},
        )
        return (logits * jnp.arange(10.0)[None]).sum(), updates["batch_stats"]

    (value, stats), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return value, unstack_blocks(stats), unstack_blocks(grads)


def assert_close(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(first))
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize(
    "options",
    [
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in ({"remat": True}, {"scan_blocks": True}, {"scan_blocks": True, "remat": True})
        ),
        {"scan_blocks": True, "remat": True, "frozen_blocks": 3},
    ],
)
def test_same_loss_statistics_and_gradients(variables, options):
    frozen = options.get("frozen_blocks", 0)
    want = gradients(create(frozen_blocks=frozen), variables)
    given = stacked(variables, frozen) if options.get("scan_blocks") else variables
    for have, wanted in zip(gradients(create(**options), given), want, strict=True):
        assert_close(have, wanted)


def test_the_loop_has_the_variables_that_stacking_makes(variables):
    own = jax.eval_shape(create(scan_blocks=True).init, jax.random.key(1), IMAGES)
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, stacked(variables))


def test_loops_of_lite_have_the_variables_that_stacking_makes():
    """Its ends are not repeated as often as the others of its depth."""
    lite = dataclasses.replace(DEEP, activation="relu6", squeeze_excite=False, scale_ends=False)
    assert lite.repeats == (1, 4, 2) and equal_blocks(lite) == [range(2, 5)]
    single, loops = (
        jax.eval_shape(EfficientNetModule(lite, 10, scan_blocks=scan).init, jax.random.key(1), IMAGES)
        for scan in (False, True)
    )
    assert not any("se" in block for block in single["params"].values())
    stack = lambda tree: jax.eval_shape(lambda t: stack_blocks(t, equal_blocks(lite)), tree)
    assert jax.tree.map(jnp.shape, loops) == {
        name: jax.tree.map(jnp.shape, stack(tree)) for name, tree in single.items()
    }


def test_unstacking_undoes_stacking(variables):
    again = {name: unstack_blocks(tree) for name, tree in stacked(variables).items()}
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize("scan_blocks", (False, True))
def test_every_block_drops_at_its_own_rate(variables, scan_blocks, monkeypatch):
    """The rate of block i is i / number of blocks of the last one's, in a loop, too."""
    rates = []

    class Recording(StochasticDepth):
        @nn.compact
        def __call__(self, x, example_ids, rate):
            def record(value, x):
                rates.append(float(value))
                return x

            # With a result that is used: flax refuses side effects in a loop.
            x = jax.pure_callback(record, jax.ShapeDtypeStruct(x.shape, x.dtype), jnp.float32(rate), x)
            return super().__call__(x, example_ids, rate)

    monkeypatch.setattr(network, "StochasticDepth", Recording)
    module = create(scan_blocks=scan_blocks, stochastic_depth_rate=0.5)
    given = stacked(variables) if scan_blocks else variables
    module.apply(given, IMAGES, train=False, example_ids=jnp.arange(4), rngs={"noise": jax.random.key(0)})
    jax.effects_barrier()
    loops = equal_blocks(DEEP)
    firsts = [0, *(sum(DEEP.round_repeats(group.repeats) for group in DEEP.groups[:n]) for n in (1, 2))]
    with_skip = set(range(DEEP.num_blocks)) - set(firsts) | {0}  # the first of a group changes filters or stride
    assert len(loops) > 1 and max(map(len, loops)) > 1
    wanted = [0.5 * i / DEEP.num_blocks for i in range(DEEP.num_blocks) if i in with_skip]
    np.testing.assert_allclose(sorted(rates), wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-b3"])
def test_runs_have_equal_blocks_and_do_not_cross_the_frozen_ones(name):
    architecture = get_architecture(name)
    params = jax.eval_shape(lambda: build_network(architecture, 10).init(0, 64))["params"]
    for frozen_blocks in range(architecture.num_blocks + 1):
        for blocks in equal_blocks(architecture, frozen_blocks):
            shapes = [jax.tree.map(jnp.shape, params[f"blocks_{i}"]) for i in blocks]
            assert all(shape == shapes[0] for shape in shapes), loop_name(blocks)
            assert not blocks[0] < frozen_blocks <= blocks[-1]
