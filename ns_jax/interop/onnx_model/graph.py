"""An ONNX graph that grows operation by operation.

Values keep the rank that they have in jax, but where they would be repeated along a dimension it may stay 1: ONNX
repeats as NumPy does, so that constants and gates are not written out to whole activations.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # of 2023: the first in which all reductions take their axes as an input
IR_VERSION = 10  # what onnxruntime 1.20 and openvino 2024 read
BATCH = "batch"  # name of the dimension that is any


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value that is known when the program runs.

    Attributes:
      name: in the graph.
      shape: numbers, or symbols for what depends on the batch; 1 where it is to be repeated.
      dtype: of its numbers.
    """

    name: str
    shape: tuple
    dtype: np.dtype


Value = Tensor | np.ndarray  # an array: known now


class Graph:
    """Nodes and constants, in order."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.count = 0

    def new_name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def name_of(self, value: Value) -> str:
        """The name of a value, which becomes a constant of the graph where it is an array."""
        if isinstance(value, Tensor):
            return value.name
        name = self.new_name()
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, inputs: Sequence[Value], shape: Sequence, dtype: Any, **attributes: Any) -> Tensor:
        """Adds a node of one output, whose shape and dtype are given."""
        names, output = [self.name_of(value) for value in inputs], self.new_name()
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return Tensor(output, tuple(shape), np.dtype(dtype))

    def transposed(self, value: Value, order: Sequence[int]) -> Value:
        """The value with its dimensions in another order."""
        order = tuple(order)
        if isinstance(value, np.ndarray):
            return value.transpose(order)
        if order == tuple(range(len(order))):
            return value
        return self.add("Transpose", [value], [value.shape[i] for i in order], value.dtype, perm=list(order))

    def reshaped(self, value: Value, shape: Sequence) -> Value:
        """The value in another shape, of which at most one number depends on the batch."""
        if tuple(value.shape) == tuple(shape):
            return value
        if isinstance(value, np.ndarray):
            return value.reshape(tuple(shape))
        sizes = np.array([size if isinstance(size, int) else -1 for size in shape], np.int64)
        return self.add("Reshape", [value, sizes], shape, value.dtype)

    def repeated(self, value: Value, shape: Sequence) -> Value:
        """The value written out to a shape; what depends on the batch must be whole already."""
        if tuple(value.shape) == tuple(shape):
            return value
        sizes = [size if isinstance(size, int) else 1 for size in shape]
        if isinstance(value, np.ndarray):
            return np.broadcast_to(value, sizes)
        return self.add("Expand", [value, np.array(sizes, np.int64)], shape, value.dtype)

    def to_model(self, name: str, inputs: Tensor, output: Tensor, output_name: str) -> onnx.ModelProto:
        """The whole: one input, one output, which is called `output_name`, and the batch as a symbol."""
        self.nodes.append(helper.make_node("Identity", [output.name], [output_name]))
        graph = helper.make_graph(
            self.nodes, name, [_described(inputs)], [_described(dataclasses.replace(output, name=output_name))],
            self.constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="ns_jax")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def _described(tensor: Tensor) -> onnx.ValueInfoProto:
    sizes = [size if isinstance(size, int) else BATCH for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, helper.np_dtype_to_tensor_dtype(tensor.dtype), sizes)
