"""Every evaluation by its name.

An evaluation is a function `(predictor, source, indices, options) -> dict`: it runs `predictor` over the examples
`indices` of a labeled `source` and returns what a JSON file can hold, the same on all hosts. `options` are the fields
of its entry in the config's `evaluations`. Under the key `predictions` it may return a
`ns_jax.evaluators.predictions.Predictions`, which is written beside the JSON file. One that takes long is marked by
`ns_jax.evaluators.parts.in_parts` and takes a fifth argument, `Parts`, by which an interrupted one goes on. Options of
its own that an entry may set are in the table OPTIONS of `ns_jax/experiment/evaluations.py`.
"""

from ns_jax.registry import Registry

EVALUATIONS = Registry(
    "evaluation",
    {
        "classification": "ns_jax.evaluators.classification:evaluate",
        "own_classes": "ns_jax.evaluators.own_classes:evaluate",
        "several_labels": "ns_jax.evaluators.several_labels:evaluate",
        "corruptions": "ns_jax.evaluators.corruptions:evaluate",
        "perturbations": "ns_jax.evaluators.perturbations:evaluate",
        "fgsm": "ns_jax.evaluators.fgsm:evaluate",
        "pgd": "ns_jax.evaluators.pgd:evaluate",
        "calibration": "ns_jax.evaluators.reliability:evaluate",
        "selective": "ns_jax.evaluators.selective:evaluate",
    },
)
