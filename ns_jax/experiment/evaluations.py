"""What an entry of the field `evaluations` may hold: the same for all types, and the options of each type."""

from typing import Any

from ns_jax.experiment.constraints import Constraint, boolean, distinct_names, name, number, numbers, text

Options = dict[str, tuple[Any, Constraint, str]]  # {option: (default, constraint, meaning)}

# Each entry becomes WORKDIR/.../evaluations/NAME.json, and holds:
EVALUATION: Options = {
    "type":    ("classification", name,           "evaluator of ns_jax/evaluators, or an import path"),
    "data":    ("",               text,           "source; '': data.test"),
    "classes": ((),               distinct_names, "names of classes: only between them is chosen; (): all"),
}  # fmt: skip

_BASELINE = ("", text, "what results are divided by: '' nothing, 'alexnet', or the result file of another model")
_EPSILON = "[0, 255]"

# Options that entries of a type may have besides.
OPTIONS: dict[str, Options] = {
    "several_labels": {"right_labels": ("", text, "file of the right labels of each image, as ReaL's real.json")},
    "corruptions":   {"baseline": _BASELINE},
    "perturbations": {"baseline": _BASELINE},
    "fgsm": {"epsilons": ((2, 4, 8, 16), numbers(_EPSILON), "largest changes of a pixel, on 0..255")},
    "pgd": {
        "epsilons":     ((16,), numbers(_EPSILON),     "largest changes of a pixel, on 0..255"),
        "steps":        (10,    number("[1, 10000]"),  "how often the gradient is followed"),
        "step_size":    (0.0,   number("[0, 1]"),      "of a step, as a share of epsilon; 0: 2.5 / steps"),
        "random_start": (False, boolean,               "True: from anywhere within epsilon, not from the image"),
        "restarts":     (1,     number("[1, 1000]"),   "random starts that a model must withstand"),
        "seed":         (0,     number("[0, 2147483647]"), "of the random starts"),
    },
    "calibration": {"bins": (15, number("[1, 1000]"), "of the calibration errors and the reliability diagram")},
}  # fmt: skip


def options_of(kind: str) -> Options:
    """What entries of a type may hold."""
    return EVALUATION | OPTIONS.get(kind, {})


def every_option() -> Options:
    """What entries of any type may hold."""
    everything = dict(EVALUATION)
    for options in OPTIONS.values():
        everything |= options
    return everything
