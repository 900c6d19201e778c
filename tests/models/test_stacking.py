"""Equal blocks as a loop, and blocks computed again for the backward pass: the same numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ns_jax.models.efficientnet.network import EfficientNet
from ns_jax.models.efficientnet.stacking import equal_blocks, run_name, stack_blocks, unstack_blocks
from ns_jax.models.variants import get_variant

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROW = dataclasses.replace(get_variant("efficientnet-small"), depth=2.0)
IMAGES = jax.random.normal(jax.random.key(0), (4, 28, 28, 3))


def create(**options):
    return EfficientNet(ROW, 10, **options)


@pytest.fixture(scope="module")
def variables():
    return create().init(jax.random.key(1), IMAGES)


def stacked(variables, frozen_blocks=0):
    return {name: stack_blocks(tree, equal_blocks(ROW, frozen_blocks)) for name, tree in variables.items()}


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

    (value, stats), found = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return value, unstack_blocks(stats), unstack_blocks(found)


def assert_close(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(first))
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5 * largest)


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
    for one, two in zip(gradients(create(**options), given), want, strict=True):
        assert_close(one, two)


def test_the_loop_has_the_variables_that_stacking_makes(variables):
    own = jax.eval_shape(create(scan_blocks=True).init, jax.random.key(1), IMAGES)
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, stacked(variables))


def test_unstacking_undoes_stacking(variables):
    again = {name: unstack_blocks(tree) for name, tree in stacked(variables).items()}
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_every_drop_rate_reaches_its_block(variables):
    """In a loop each repeat drops at its own rate: nobody survives a rate near 1 but in early blocks."""
    model = create(scan_blocks=True, stochastic_depth_rate=0.5)
    given = stacked(variables)
    outputs = [
        model.apply(given, IMAGES, train=False, example_ids=jnp.arange(4), rngs={"noise": jax.random.key(key)})
        for key in range(2)
    ]
    assert not np.allclose(*outputs)
    np.testing.assert_array_equal(
        outputs[0],
        model.apply(given, IMAGES, train=False, example_ids=jnp.arange(4), rngs={"noise": jax.random.key(0)}),
    )


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-b3"])
def test_runs_have_equal_blocks_and_do_not_cross_the_frozen_ones(name):
    row = get_variant(name)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(EfficientNet(row, 10).init, jax.random.key(0), image)["params"]
    for frozen_blocks in range(row.num_blocks + 1):
        for blocks in equal_blocks(row, frozen_blocks):
            shapes = [jax.tree.map(jnp.shape, params[f"blocks_{i}"]) for i in blocks]
            assert all(shape == shapes[0] for shape in shapes), run_name(blocks)
            assert not blocks[0] < frozen_blocks <= blocks[-1]
