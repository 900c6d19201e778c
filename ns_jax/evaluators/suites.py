"""Evaluations that belong together, for python -m ns_jax.evaluate."""

import os
from collections.abc import Callable

from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.evaluators.robustness import ALEXNET
from ns_jax.experiment.evaluations import options_of

Suite = dict[str, dict]  # {name of the evaluation: its options}, as a config's `evaluations`


def robustness(data: str, view: View, baseline: str) -> Suite:
    """The paper's section 3.3 for any labeled images: clean, corrupted, perturbed, attacked, and calibration.

    Args:
      data: source string of the images.
      view: of the model; corrupted images are made as it sees clean ones.
      baseline: 'alexnet', or the folder of another model's results of this suite; '' for none.
    """
    size = f"{view.size}+{view.crop_padding}" if view.crop_padding else str(view.size)
    return {
        "clean": {"type": "classification", "data": data},
        "calibration": {"type": "calibration", "data": data},
        "selective": {"type": "selective", "data": data},
        "fgsm": {"type": "fgsm", "data": data},
        "pgd": {"type": "pgd", "data": data},
        "corruptions": {
            "type": "corruptions",
            "data": f"corrupted:{size}:{data}",
            "baseline": result_of(baseline, "corruptions"),
        },
        "perturbations": {
            "type": "perturbations",
            "data": f"perturbed:{size}:{data}",
            "baseline": result_of(baseline, "perturbations"),
        },
    }


# {evaluation: (official name of its folder, options)}; the folder's path is put in for {}.
IMAGENET_SETS: dict[str, tuple[str, dict]] = {
    "imagenet": ("val", {"type": "classification", "data": "folder:{}"}),
    "real": ("val", {"type": "several_labels", "data": "folder:{}", "right_labels": "{}/../real.json"}),
    "v2": ("imagenetv2-matched-frequency-format-val", {"type": "classification", "data": "folder:{}"}),
    "sketch": ("sketch", {"type": "classification", "data": "folder:{}"}),
    "imagenet_a": ("imagenet-a", {"type": "own_classes", "data": "folder:{}", "classes": ("imagenet_a",)}),
    "imagenet_r": ("imagenet-r", {"type": "own_classes", "data": "folder:{}", "classes": ("imagenet_r",)}),
    "imagenet_c_224": ("imagenet-c", {"type": "corruptions", "data": "imagenet_c:{}", "baseline": ALEXNET}),
    "imagenet_c_299": ("imagenet-c-299", {"type": "corruptions", "data": "imagenet_c:{}", "baseline": ALEXNET}),
    "imagenet_p_224": ("imagenet-p", {"type": "perturbations", "data": "imagenet_p:{}", "baseline": ALEXNET}),
    "imagenet_p_299": ("imagenet-p-299", {"type": "perturbations", "data": "imagenet_p:{}", "baseline": ALEXNET}),
    "fgsm": ("val", {"type": "fgsm", "data": "folder:{}"}),
    "pgd": ("val", {"type": "pgd", "data": "folder:{}"}),
    "calibration": ("val", {"type": "calibration", "data": "folder:{}"}),
    "selective": ("val", {"type": "selective", "data": "folder:{}"}),
}

# The same of TensorFlow Datasets, which has neither ImageNet-P nor ImageNet-C at 299 px.
TFDS = "tfds"
TFDS_SETS: dict[str, dict] = {
    "imagenet": {"data": "tfds:imagenet2012/validation"},
    "real": {"data": "tfds:imagenet2012_real/validation", "right_labels": ""},
    "v2": {"data": "tfds:imagenet_v2/matched-frequency/test"},
    "sketch": {"data": "tfds:imagenet_sketch/test"},
    "imagenet_a": {"data": "tfds:imagenet_a/test"},
    "imagenet_r": {"data": "tfds:imagenet_r/test"},
    "imagenet_c_224": {"data": "imagenet_c:tfds:imagenet2012_corrupted/validation"},
    "fgsm": {"data": "tfds:imagenet2012/validation"},
    "pgd": {"data": "tfds:imagenet2012/validation"},
    "calibration": {"data": "tfds:imagenet2012/validation"},
    "selective": {"data": "tfds:imagenet2012/validation"},
}


def imagenet(data: str, view: View, baseline: str) -> Suite:
    """ImageNet's test sets that are in a folder, in their official layouts, or those that TensorFlow Datasets has.

    Args:
      data: the folder, or 'tfds'.
      view: of the model, not used.
      baseline: replaces AlexNet: the folder of another model's results of this suite.

    Raises:
      UserError: there is no such folder, or none of the sets in it.
    """
    del view
    if data == TFDS:
        suite = {name: IMAGENET_SETS[name][1] | of_tfds for name, of_tfds in TFDS_SETS.items()}
    else:
        suite = sets_in_folder(data)
    if baseline:
        for name, options in suite.items():
            if "baseline" in options:
                suite[name] = options | {"baseline": result_of(baseline, name)}
    return suite


def sets_in_folder(data: str) -> Suite:
    """The sets that are in a folder. Raises UserError where there is none."""
    root = os.path.abspath(os.path.expanduser(data.removeprefix("folder:")))
    suite: Suite = {}
    for name, (folder, options) in IMAGENET_SETS.items():
        path = os.path.join(root, folder)
        needs_file = "right_labels" in options and not os.path.isfile(os.path.join(root, "real.json"))
        if not os.path.isdir(path) or needs_file:
            continue
        suite[name] = {key: put_in(value, path) for key, value in options.items()}
    if not suite:
        folders = dict.fromkeys(folder for folder, _ in IMAGENET_SETS.values())
        raise UserError(f"--data={data}: none of ImageNet's sets is in it, in folders called {', '.join(folders)}")
    return suite


def put_in(value, path: str):
    """An option with a folder's path in the place of {}."""
    return os.path.normpath(value.format(path)) if isinstance(value, str) and "{}" in value else value


def result_of(baseline: str, name: str) -> str:
    """The option `baseline` of an evaluation."""
    return baseline if baseline in ("", ALEXNET) else os.path.join(baseline, f"{name}.json")


SUITES: dict[str, Callable[[str, View, str], Suite]] = {"robustness": robustness, "imagenet": imagenet}


def with_defaults(suite: Suite) -> Suite:
    """The suite with every option that an evaluation may have."""
    return {
        name: {key: default for key, (default, _, _) in options_of(options["type"]).items()} | options
        for name, options in suite.items()
    }
