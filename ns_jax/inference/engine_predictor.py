"""Labelling on CPU by another runtime than XLA: field `inference_engine`."""

import dataclasses

import numpy as np
import scipy.special

from ns_jax.artifact.weights import Artifact
from ns_jax.data.views import View
from ns_jax.inference.engines import make_engine
from ns_jax.inference.predictor import Predictor
from ns_jax.models.base import Network
from ns_jax.parallel.mesh import to_global, to_host


class EnginePredictor(Predictor):
    """A predictor whose probabilities come from a runtime; batches and files are those of `Predictor`.

    Args:
      name: of the runtime.
      others: see `Predictor`; there is no noise.

    Raises:
      UserError: see `make_engine`.
    """

    def __init__(self, artifact: Artifact, network: Network, view: View | None, mesh, batch_size: int, name: str):
        nothing: dict = {"params": {}, "batch_stats": {}}
        super().__init__(dataclasses.replace(artifact, variables=nothing), network, view, mesh, batch_size)
        inputs = network.inputs
        example_dtype = np.float32 if view else np.dtype(getattr(inputs, "dtype", "float32"))
        dtype = np.dtype(network.options.dtype).name
        engine = make_engine(artifact, name, view.size if view else None, example_dtype, dtype)

        def predict(variables, batch, ids):
            # Variables and ids are the jax program's, of which this takes the place.
            return to_global(mesh, scipy.special.softmax(engine(to_host(batch)), axis=-1))

        self._predict = predict
