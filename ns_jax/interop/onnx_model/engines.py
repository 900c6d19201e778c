"""Runtimes that run a model's ONNX program on CPU."""

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np

from ns_jax.errors import UserError
from ns_jax.interop.packages import require_package

Engine = Callable[[np.ndarray], np.ndarray]  # examples [N, ...] -> logits float32 [N, classes]


def onnxruntime(program: bytes, threads: int | None, dtype: str) -> Engine:
    """ONNX Runtime. Raises UserError where it is not installed, or `dtype` is not float32."""
    if dtype != "float32":
        raise UserError(f"onnxruntime computes in float32 here, not in {dtype}: choose openvino, or float32")
    ort = require_package("onnxruntime", "onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors
    session = ort.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    (name,) = (description.name for description in session.get_inputs())
    return lambda examples: session.run(None, {name: examples})[0]


def openvino(program: bytes, threads: int | None, dtype: str) -> Engine:
    """OpenVINO, in bfloat16 where the CPU has instructions for it and `dtype` says so."""
    ov = _import_openvino()
    core = ov.Core()
    hints = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype], "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = str(threads)
    request = core.compile_model(core.read_model(program), "CPU", hints).create_infer_request()

    def run(examples: np.ndarray) -> np.ndarray:
        (logits,) = request.infer([examples]).values()
        return np.array(logits, np.float32)  # a copy: the request writes the next result to the same place

    return run


def _import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which reports each import from a process that it forks: jax has threads."""
    telemetry = "openvino_telemetry"
    if telemetry in sys.modules:
        return require_package("openvino", "openvino")
    sys.modules[telemetry] = None  # type: ignore[assignment]  # as if it was not installed
    try:
        return require_package("openvino", "openvino")
    finally:
        del sys.modules[telemetry]


ENGINES: dict[str, Callable[[bytes, int | None, str], Engine]] = {"onnxruntime": onnxruntime, "openvino": openvino}
