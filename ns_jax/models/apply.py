"""The one way from a batch of examples to logits and probabilities: prepare, apply, softmax."""

from collections.abc import Mapping
from typing import Any

import jax

from ns_jax.models.base import Network


def collections(variables: Mapping) -> dict:
    """{params, batch_stats} as linen takes them: without batch_stats where the network has none."""
    return {name: tree for name, tree in variables.items() if name == "params" or tree}


def logits(network: Network, variables: Mapping, batch: jax.Array, **noise) -> jax.Array:
    """Logits of a batch in inference mode.

    Args:
      network: built for its purpose (dtype, loops).
      variables: {params, batch_stats} as the network's module takes them.
      batch: examples [N, ...] as a source has them; images are on 0..255.
      noise: `example_ids` and `rngs` of the module's call, for predictions with noise.

    Returns:
      float32 [N, classes].
    """
    outputs: Any = network.module.apply(collections(variables), network.prepare(batch), train=False, **noise)
    return outputs


def probabilities(network: Network, variables: Mapping, batch: jax.Array, **noise) -> jax.Array:
    """Softmax of `logits`: float32 [N, classes]."""
    return jax.nn.softmax(logits(network, variables, batch, **noise))


def activations(network: Network, variables: Mapping, batch: jax.Array) -> dict[str, jax.Array]:
    """{endpoint: activation} of a batch in inference mode; the endpoints are the architecture's."""
    return logits(network, variables, batch, features_only=True)  # type: ignore[return-value]
