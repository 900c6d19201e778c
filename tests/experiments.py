"""Every experiment of configs/, by its command-line name."""

import importlib

from ns_jax.configs import ablation_amount, ablation_joint, ablation_noise, ablation_ratio, ablation_warm_start

NOT_EXPERIMENTS = {"__init__", "common", "imagenet", "ablation", "small"}
FORMS = {
    "mnist5k": ("chain", "control", "smoke"),
    "svhn": ("online", "offline", "teacher"),
    "resnet50": ("teacher", "student"),
    "imagenet_10pct": ("b0", "b7"),
    "ablation_soft_hard": ("soft_0.9", "hard_0.3", "hard_0.3,small"),
    "ablation_larger_student": ("b0_b1", "b4_b5"),
    "ablation_balancing": ("unbalanced", "unbalanced,small"),
}
for _module in (ablation_amount, ablation_joint, ablation_noise, ablation_ratio, ablation_warm_start):
    _rows = list(_module.ROWS)
    FORMS[_module.__name__.removeprefix("ns_jax.configs.")] = (*_rows, f"{_rows[-1]},small")
for _model in range(8):
    FORMS[f"b{_model}_ns"] = ("same_teacher", "l2_teacher")


def names(folder) -> list[str]:
    """'FILE' or 'FILE:FORM' of every experiment in the folder `configs`."""
    all_names = []
    for path in sorted(folder.glob("*.py")):
        if path.stem in NOT_EXPERIMENTS:
            continue
        all_names += [f"{path.stem}:{form}" for form in FORMS[path.stem]] if path.stem in FORMS else [path.stem]
    return all_names


def load(name: str):
    """The config of a name in `names`."""
    file, _, form = name.partition(":")
    get_config = importlib.import_module(f"ns_jax.configs.{file}").get_config
    return get_config(form) if form else get_config()
