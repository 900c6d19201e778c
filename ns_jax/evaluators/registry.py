"""Every evaluation by its name.

An evaluation is a function `(predictor, source, indices, options) -> dict`: it runs `predictor` over the examples
`indices` of a labeled `source` and returns what a JSON file can hold, the same on all hosts. `options` are the fields
of its entry in the config's `evaluations`. Under the key `predictions` it may return a
`ns_jax.evaluators.predictions.Predictions`, which is written beside the JSON file.
"""

from ns_jax.registry import Registry

EVALUATIONS = Registry("evaluation", {"classification": "ns_jax.evaluators.classification:evaluate"})
