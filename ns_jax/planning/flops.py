"""FLOPs of a program, counted in its jaxpr: before partitioning, so over all devices."""

import collections
import math

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

KINDS = ("dot", "conv", "depthwise")
PLATFORM = "tpu"


def count_flops(jaxpr: ClosedJaxpr) -> dict[str, int]:
    """FLOPs of the matrix products and convolutions of a program, a multiply-add being two.

    Loops count as often as they run, `jax.checkpoint`'s recomputation counts, `jax.lax.cond` is its
    most expensive branch and `jax.lax.platform_dependent` the one of TPUs. Convolutions count
    products with padding, as papers do, but none with the holes that `lhs_dilation` makes (gradients
    of convolutions with stride). What no result needs is not counted. A while loop without a fixed
    length counts once (`loops_counted_once`). What `jax.shard_map` runs counts on every device.

    Args:
      jaxpr: from `jax.make_jaxpr(fn)(*args)` or `jitted.trace(*args).jaxpr`.

    Returns:
      {'dot', 'conv', 'depthwise'}: FLOPs. Depthwise are convolutions with one channel a group.
    """
    counted = _count(jaxpr)
    return {kind: counted[kind] for kind in KINDS}


def loops_counted_once(jaxpr: ClosedJaxpr | Jaxpr) -> int:
    """The number of while loops of unknown length with FLOPs that `count_flops` counted a single time."""
    total = 0
    for eqn in _equations(jaxpr):
        total += eqn.primitive.name == "while" and any(_count(eqn.params["body_jaxpr"]).values())
        total += sum(loops_counted_once(inner) for inner in _executed(eqn))
    return total


def _equations(jaxpr):
    """The equations whose results something needs: compilers drop others, as forward passes in `jax.vjp`."""
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    needed, equations = set(map(id, jaxpr.outvars)), []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(id(var) in needed for var in eqn.outvars):
            needed.update(map(id, eqn.invars))
            equations.append(eqn)
    return equations


def _executed(eqn):
    """The jaxprs that an equation may run."""
    if eqn.primitive.name == "cond" and (platforms := eqn.params.get("branches_platforms")):
        # Of platform_dependent: names of platforms for each branch, None for the default.
        chosen = next((i for i, names in enumerate(platforms) if names and PLATFORM in names), None)
        return [eqn.params["branches"][platforms.index(None) if chosen is None else chosen]]
    values = (value if isinstance(value, list | tuple) else [value] for value in eqn.params.values())
    return [value for group in values for value in group if isinstance(value, ClosedJaxpr | Jaxpr)]


def _count(jaxpr) -> collections.Counter:
    """{kind: FLOPs}."""
    total = collections.Counter()
    for eqn in _equations(jaxpr):
        name = eqn.primitive.name
        if name == "dot_general":
            total["dot"] += _dot(eqn)
        elif name == "conv_general_dilated":
            total["depthwise" if _is_depthwise(eqn) else "conv"] += _convolution(eqn)
        else:
            inner = [_count(part) for part in _executed(eqn)]
            if name == "cond":
                inner = [max(inner, key=lambda count: count.total())]
            times = _times(eqn)
            for count in inner:
                total.update({kind: times * flops for kind, flops in count.items()})
    return total


def _times(eqn) -> int:
    """How often an equation runs the jaxprs in it, over all devices."""
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    if eqn.primitive.name == "shard_map":  # its shapes are of one device
        return math.prod(eqn.params["mesh"].shape[axis] for axis in eqn.params["manual_axes"])
    return 1


def _dot(eqn) -> int:
    """FLOPs of a matrix product."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    lhs = eqn.invars[0].aval.shape
    return 2 * eqn.outvars[0].aval.size * math.prod(lhs[i] for i in contracted)


def _is_depthwise(eqn):
    """One channel a group, also in the gradient of the kernel, where the batch has the groups."""
    spec = eqn.params["dimension_numbers"]
    lhs, rhs = (var.aval.shape for var in eqn.invars)
    features, batch = eqn.params["feature_group_count"], eqn.params["batch_group_count"]
    return (features > 1 and rhs[spec.rhs_spec[1]] == 1) or (batch > 1 and lhs[spec.lhs_spec[0]] == batch)


def _convolution(eqn) -> int:
    """FLOPs of a convolution."""
    spec, params = eqn.params["dimension_numbers"], eqn.params
    rhs, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    products = out[spec.out_spec[0]] * out[spec.out_spec[1]] * rhs[spec.rhs_spec[1]]
    for place, stride in enumerate(params["window_strides"]):
        pixels, taps = out[spec.out_spec[2 + place]], rhs[spec.rhs_spec[2 + place]]
        # Where each tap of each output pixel falls: between two input pixels, there is nothing to multiply.
        low, dilation = params["padding"][place][0], params["rhs_dilation"][place]
        met = np.arange(pixels)[:, None] * stride + np.arange(taps) * dilation - low
        products *= int((met % params["lhs_dilation"][place] == 0).sum())
    return 2 * products
