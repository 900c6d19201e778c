import jax
import jax.numpy as jnp
import pytest
from jax import lax

from ns_jax.models.base import build_network
from ns_jax.models.ops.depthwise import depthwise_conv
from ns_jax.models.registry import get_architecture
from ns_jax.planning.flops import count_flops, loops_counted_once


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def flops(fn, *args):
    return count_flops(jax.make_jaxpr(fn)(*args))


def conv(x, kernel, stride=1, groups=1):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def test_matrix_products():
    assert flops(jnp.matmul, array(3, 4), array(4, 5)) == {"dot": 2 * 3 * 4 * 5, "conv": 0, "depthwise": 0}
    assert flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), array(6, 3, 4), array(6, 4, 5))["dot"] == 6 * 120


def test_loops():
    def step(x, w):
        return x @ w, None

    def nested(x, w):
        return lax.scan(lambda x, _: lax.scan(step, x, w), x, length=3)[0]

    assert flops(nested, array(2, 4), array(7, 4, 4))["dot"] == 3 * 7 * 2 * 2 * 4 * 4


def test_loops_of_unknown_length():
    def fn(n, x, w):
        return lax.fori_loop(0, n, lambda i, x: x @ w, x)

    jaxpr = jax.make_jaxpr(fn)(jax.ShapeDtypeStruct((), jnp.int32), array(2, 4), array(4, 4))
    assert count_flops(jaxpr)["dot"] == 2 * 2 * 4 * 4
    assert loops_counted_once(jaxpr) == 1
    assert loops_counted_once(jax.make_jaxpr(jnp.matmul)(array(2, 4), array(4, 4))) == 0


def test_convolutions():
    assert flops(conv, array(2, 8, 8, 3), array(3, 3, 3, 5))["conv"] == 2 * (2 * 8 * 8 * 5) * 9 * 3
    strided = flops(lambda x, k: conv(x, k, stride=2), array(2, 9, 9, 3), array(3, 3, 3, 5))
    assert strided["conv"] == 2 * (2 * 5 * 5 * 5) * 9 * 3
    grouped = flops(lambda x, k: conv(x, k, groups=4), array(2, 8, 8, 8), array(3, 3, 2, 12))
    assert grouped == {"dot": 0, "conv": 2 * (2 * 8 * 8 * 12) * 9 * 2, "depthwise": 0}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("shape", "groups", "kind"),
    [((3, 3, 8, 12), 1, "conv"), ((3, 3, 2, 12), 4, "conv"), ((3, 3, 1, 8), 8, "depthwise")],
)
def test_gradients_of_convolutions(stride, shape, groups, kind):
    """As much as the forward pass for the input, and again for the kernel."""
    args = array(2, 8, 8, 8), array(*shape)

    def loss(x, k):
        return conv(x, k, stride, groups).sum()

    forward = flops(loss, *args)
    assert forward[kind] > 0
    assert flops(jax.value_and_grad(loss, (0, 1)), *args) == {name: 3 * count for name, count in forward.items()}


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolutions_are_those_of_tpus(stride):
    args = array(2, 8, 8, 16), array(3, 3, 1, 16)

    def loss(x, k):
        return depthwise_conv(x, k, stride).sum()

    forward = 2 * (2 * (8 // stride) ** 2 * 16) * 9
    assert flops(loss, *args) == {"dot": 0, "conv": 0, "depthwise": forward}
    assert flops(jax.value_and_grad(loss, (0, 1)), *args)["depthwise"] == 3 * forward


@pytest.mark.parametrize("outer", [lambda fn: fn, jax.jit])
def test_results_that_nothing_needs(outer):
    def grads(x, w, g):
        return jax.vjp(jnp.matmul, x, w)[1](g)

    assert flops(outer(grads), array(2, 4), array(4, 4), array(2, 4))["dot"] == 2 * (2 * 2 * 4 * 4)


def test_branches():
    def fn(p, x, w):
        return lax.cond(p, lambda: x @ w @ w, lambda: x @ w)

    args = jax.ShapeDtypeStruct((), bool), array(2, 4), array(4, 4)
    assert flops(fn, *args)["dot"] == 2 * (2 * 2 * 4 * 4)


def test_gradients_of_dense_layers():
    def loss(ws, x):
        for w in ws:
            x = jax.nn.relu(x @ w)
        return x.sum()

    ws, x = [array(8, 16), array(16, 4)], array(2, 8)
    forward = 2 * 2 * (8 * 16 + 16 * 4)
    assert flops(loss, ws, x)["dot"] == forward
    assert flops(jax.jit(jax.value_and_grad(loss, (0, 1))), ws, x)["dot"] == 3 * forward
    recomputed = jax.value_and_grad(jax.checkpoint(loss), (0, 1))
    # The last product is needed again for relu's gradient: a whole second forward pass.
    assert flops(recomputed, ws, x)["dot"] == 4 * forward


def test_efficientnet():
    """B0 has 0.39 billion multiply-adds: table 2 of https://arxiv.org/abs/1905.11946."""
    network = build_network(get_architecture("efficientnet-b0"), 1000)
    images = array(1, *network.inputs.example_shape())
    variables = jax.eval_shape(lambda: network.init(0))
    counted = flops(network.module.apply, variables, images)
    assert sum(counted.values()) / 2 == pytest.approx(0.39e9, rel=0.03)
    assert min(counted.values()) > 0
