"""Batch norm folded into the convolutions before it, for models that only predict.

In inference batch norm is factor * x + shift with constants per channel. The factor goes into the kernel of the
convolution that makes x, and the shift is left as a bias. The logits change by float32 round-off, as products are
rounded in another place.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ns_jax.models.base import Network


def folded(network: Network, variables: Mapping, consume: bool = False) -> tuple[Network, dict]:
    """The network and its variables without batch norm; as they are where the architecture cannot fold.

    Args:
      network: for predictions.
      variables: {params, batch_stats} as artifacts hold them; nested dicts of arrays in memory.
      consume: takes kernels out of `variables`, so that no second copy of the whole is ever in memory.

    Returns:
      (the network, {params, batch_stats} as `Network.to_module` takes them).
    """
    architecture = network.architecture
    if not architecture.can_fold or not variables.get("batch_stats"):
        return network, dict(variables)
    options = dataclasses.replace(network.options, fold_batch_norm=True)
    module = architecture.build(network.num_classes, options)
    if not consume:
        variables = _copied(variables)
    return dataclasses.replace(network, options=options, module=module), architecture.fold(variables)


def _copied(tree: Mapping) -> dict:
    """Nested dicts of the same arrays."""
    return {name: _copied(value) if isinstance(value, Mapping) else value for name, value in tree.items()}


def fold_batch_norms(variables: Mapping, convolution_of: Callable[[str], str], epsilon: float) -> dict:
    """Folds every batch norm into the convolution beside it in the tree.

    Args:
      variables: {params, batch_stats}, nested dicts, out of which kernels are taken. Batch norm has scale and bias,
        mean and var, [C], and convolutions a kernel [..., C].
      convolution_of: from the name of a batch norm to that of its convolution.
      epsilon: of batch norm.

    Returns:
      {params, batch_stats}: kernels float32 times their factor, computed in float64; of a batch norm the bias alone;
      batch_stats is empty.
    """
    return {"params": _fold(variables["params"], variables["batch_stats"], convolution_of, epsilon), "batch_stats": {}}


def _fold(params: Mapping, stats: Mapping, convolution_of: Callable[[str], str], epsilon: float) -> dict:
    result: dict[str, Any] = {}
    for name, layer in params.items():
        result[name] = (
            _fold(layer, stats.get(name, {}), convolution_of, epsilon) if isinstance(layer, Mapping) else layer
        )
    for name, moments in stats.items():
        if not isinstance(moments, Mapping) or "mean" not in moments:
            continue
        mean, variance, scale, bias = (
            np.asarray(array, np.float64)
            for array in (moments["mean"], moments["var"], params[name]["scale"], params[name]["bias"])
        )
        factor = scale / np.sqrt(variance + epsilon)
        convolution = convolution_of(name)
        kernel = np.asarray(params[convolution].pop("kernel")) * factor
        result[convolution] = params[convolution] | {"kernel": kernel.astype(np.float32)}
        result[name] = {"bias": (bias - mean * factor).astype(np.float32)}
    return result
