"""What each primitive of jax is in ONNX, as far as models of images need them."""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import numpy as jnp
from onnx import helper

from ns_jax.errors import UserError
from ns_jax.interop.onnx_model.graph import Graph, Tensor, Value

Translation = Callable[[Graph, Any, Sequence[Value]], Value]  # (graph, equation of the jaxpr, its inputs) -> output

ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_sum": "ReduceSum"}
UNCHANGED = {"copy", "copy_p", "optimization_barrier", "stop_gradient"}


def shape_after(inputs: Sequence[Value]) -> tuple:
    """The shape of an elementwise result, by NumPy's rules."""
    rank = max(len(value.shape) for value in inputs)
    padded = [(1,) * (rank - len(value.shape)) + tuple(value.shape) for value in inputs]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def _elementwise(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    operator = ELEMENTWISE[equation.primitive.name]
    return graph.add(operator, inputs, shape_after(inputs), equation.outvars[0].aval.dtype)


def _reciprocal_root(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    (x,) = inputs
    return graph.add("Reciprocal", [graph.add("Sqrt", [x], x.shape, x.dtype)], x.shape, x.dtype)


def _erfc(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    (x,) = inputs
    return graph.add("Sub", [np.ones((), x.dtype), graph.add("Erf", [x], x.shape, x.dtype)], x.shape, x.dtype)


def _power(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    (x,) = inputs
    exponent = 2 if equation.primitive.name == "square" else equation.params["y"]
    return graph.add("Pow", [x, np.asarray(exponent, x.dtype)], x.shape, x.dtype)


def _clamp(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    low, x, high = inputs
    above = graph.add("Max", [x, low], shape_after([x, low]), x.dtype)
    return graph.add("Min", [above, high], shape_after([above, high]), x.dtype)


def _select(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    which, if_false, if_true = inputs
    return graph.add("Where", [which, if_true, if_false], shape_after(inputs), if_true.dtype)


def _cast(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    (x,), dtype = inputs, np.dtype(equation.params["new_dtype"])
    return x if x.dtype == dtype else graph.add("Cast", [x], x.shape, dtype, to=helper.np_dtype_to_tensor_dtype(dtype))


def _broadcast(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    x, places = inputs[0], equation.params["broadcast_dimensions"]
    shape = [1] * len(equation.outvars[0].aval.shape)
    for place, size in zip(places, x.shape, strict=True):
        shape[place] = size
    return graph.reshaped(x, shape)


def _reshape(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    return graph.reshaped(graph.repeated(inputs[0], equation.invars[0].aval.shape), equation.outvars[0].aval.shape)


def _transpose(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    return graph.transposed(inputs[0], equation.params["permutation"])


def _concatenate(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    whole = [graph.repeated(x, variable.aval.shape) for x, variable in zip(inputs, equation.invars, strict=True)]
    result = equation.outvars[0].aval
    return graph.add("Concat", whole, result.shape, result.dtype, axis=equation.params["dimension"])


def _slice(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    x, result = graph.repeated(inputs[0], equation.invars[0].aval.shape), equation.outvars[0].aval
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    strides = equation.params["strides"] or (1,) * len(starts)
    axes = [axis for axis, size in enumerate(x.shape) if isinstance(size, int)]
    bounds = [np.array([values[axis] for axis in axes], np.int64) for values in (starts, limits)]
    steps = np.array([strides[axis] for axis in axes], np.int64)
    return graph.add("Slice", [x, *bounds, np.array(axes, np.int64), steps], result.shape, result.dtype)


def _pad(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    x, result = graph.repeated(inputs[0], equation.invars[0].aval.shape), equation.outvars[0].aval
    lows, highs, between = zip(*equation.params["padding_config"], strict=True)
    if any(between):
        raise UserError("pad: padding between elements has no form in ONNX here")
    amounts = np.array([*lows, *highs], np.int64)
    return graph.add("Pad", [x, amounts, inputs[1]], result.shape, result.dtype, mode="constant")


def _reduce(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    x, result = graph.repeated(inputs[0], equation.invars[0].aval.shape), equation.outvars[0].aval
    axes = np.array(equation.params["axes"], np.int64)
    return graph.add(REDUCTIONS[equation.primitive.name], [x, axes], result.shape, result.dtype, keepdims=0)


def _dot(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    x, y = (graph.repeated(value, variable.aval.shape) for value, variable in zip(inputs, equation.invars, strict=True))
    ((x_sums, y_sums), (x_batch, y_batch)), result = equation.params["dimension_numbers"], equation.outvars[0].aval
    if not x_batch and tuple(x_sums) == (len(x.shape) - 1,) and tuple(y_sums) == (0,) and len(y.shape) == 2:
        return graph.add("MatMul", [x, y], result.shape, result.dtype)
    letters = iter(string.ascii_lowercase)
    x_letters = [next(letters) for _ in x.shape]
    y_letters = [next(letters) for _ in y.shape]
    for of_x, of_y in zip((*x_batch, *x_sums), (*y_batch, *y_sums), strict=True):
        y_letters[of_y] = x_letters[of_x]
    kept = [x_letters[axis] for axis in x_batch]
    kept += [letter for axis, letter in enumerate(x_letters) if axis not in (*x_batch, *x_sums)]
    kept += [letter for axis, letter in enumerate(y_letters) if axis not in (*y_batch, *y_sums)]
    formula = f"{''.join(x_letters)},{''.join(y_letters)}->{''.join(kept)}"
    return graph.add("Einsum", [x, y], result.shape, result.dtype, equation=formula)


def _convolution(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    params, result = equation.params, equation.outvars[0].aval
    if params["batch_group_count"] != 1 or set(params["lhs_dilation"]) != {1}:
        raise UserError("conv_general_dilated: only convolutions of predictions have a form in ONNX here")
    x, kernel = (graph.repeated(v, variable.aval.shape) for v, variable in zip(inputs, equation.invars, strict=True))
    of_x, of_kernel, of_result = params["dimension_numbers"]
    lows, highs = zip(*params["padding"], strict=True)
    moved = graph.add(
        "Conv",
        [graph.transposed(x, of_x), graph.transposed(kernel, of_kernel)],
        [result.shape[axis] for axis in of_result],
        result.dtype,
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[*lows, *highs],
        group=params["feature_group_count"],
    )
    return graph.transposed(moved, np.argsort(of_result).tolist())


def _max_pool(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    params, result = equation.params, equation.outvars[0].aval
    x = graph.repeated(inputs[0], equation.invars[0].aval.shape)
    window, strides, padding = params["window_dimensions"], params["window_strides"], params["padding"]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if len(window) != 4 or window[0] != 1 or window[3] != 1 or dilated:
        raise UserError("reduce_window_max: only pooling of images [N, H, W, C] has a form in ONNX here")
    to_nchw, to_nhwc = (0, 3, 1, 2), (0, 2, 3, 1)
    lows, highs = zip(*padding[1:3], strict=True)
    pooled = graph.add(
        "MaxPool",
        [graph.transposed(x, to_nchw)],
        [result.shape[axis] for axis in to_nchw],
        result.dtype,
        kernel_shape=list(window[1:3]),
        strides=list(strides[1:3]),
        pads=[*lows, *highs],
    )
    return graph.transposed(pooled, to_nhwc)


def _squeeze(graph: Graph, equation, inputs: Sequence[Value]) -> Value:
    gone = equation.params["dimensions"]
    return graph.reshaped(inputs[0], [size for axis, size in enumerate(inputs[0].shape) if axis not in gone])


TRANSLATIONS: dict[str, Translation] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(UNCHANGED, lambda graph, equation, inputs: inputs[0]),
    "broadcast_in_dim": _broadcast,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _cast,
    "dot_general": _dot,
    "erfc": _erfc,
    "integer_pow": _power,
    "pad": _pad,
    "reduce_window_max": _max_pool,
    "reshape": _reshape,
    "rsqrt": _reciprocal_root,
    "select_n": _select,
    "slice": _slice,
    "square": _power,
    "squeeze": _squeeze,
    "transpose": _transpose,
}


def compute_now(equation, inputs: Sequence[np.ndarray]) -> np.ndarray | None:
    """The result of an equation whose inputs are known; None where its shape depends on the batch."""
    shapes = [variable.aval.shape for variable in (*equation.invars, *equation.outvars)]
    if equation.primitive.name == "broadcast_in_dim" or not all(isinstance(n, int) for shape in shapes for n in shape):
        return None
    whole = [np.broadcast_to(x, variable.aval.shape) for x, variable in zip(inputs, equation.invars, strict=True)]
    return np.asarray(equation.primitive.bind(*map(jnp.asarray, whole), **equation.params))


def require_tensor(graph: Graph, value: Value) -> Tensor:
    """The value as a tensor of the graph."""
    if isinstance(value, Tensor):
        return value
    return graph.add("Identity", [value], value.shape, value.dtype)
