"""Accuracy under FGSM (Goodfellow et al. 2015): one step, each pixel by epsilon, as in the paper's Figure 4."""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.evaluators.attacks import Attack, evaluate_attack
from ns_jax.evaluators.parts import Parts, in_parts
from ns_jax.inference.predictor import Predictor


@in_parts
def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options, parts: Parts) -> dict:
    """See `evaluate_attack`; `options`: `epsilons`."""
    return evaluate_attack(predictor, source, indices, Attack(), options["epsilons"], parts)
