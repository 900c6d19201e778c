"""Every experiment of configs/, by its command-line name."""

import importlib

from ml_collections import ConfigDict

from ns_jax.configs import (
    ablation_amount,
    ablation_balancing,
    ablation_joint,
    ablation_larger_student,
    ablation_noise,
    ablation_ratio,
    ablation_soft_hard,
    ablation_warm_start,
    mnist5k,
)

NOT_EXPERIMENTS = {"__init__", "common", "imagenet", "ablation", "small", "own_images"}
FORMS = {
    "mnist5k": ("chain", "control", "smoke", "views"),
    "svhn": ("online", "offline", "teacher"),
    "solar_cells": ("0",),
    "resnet50": ("teacher", "student"),
    "imagenet_10pct": ("b0", "b7"),
    "b0_teacher": ("randaugment", "plain"),
    "b1_teacher": ("randaugment", "plain"),
    "ablation_larger_student": (*ablation_larger_student.PAIRS, "b0_b1,small", "b0_b0,small"),
    "ablation_larger_teacher": ("larger,fashion",),
    "ablation_domain": ("digits_hard,fashion", "noise_soft,fashion:3:10"),
    "ablation_iterations": ("3,fashion", "control,fashion"),
    "ablation_views": ("stored", "ema_weak", "ema_confidence,fashion"),
}
FURTHER = {
    ablation_noise: ("1.3M_teacher", *ablation_noise.ROWS_1_3M, "no_aug,small", "no_aug,fashion:3:10"),
    ablation_balancing: ("unbalanced,small", "balanced,fashion"),
    ablation_joint: ("pretrain_finetune,small", "pretrain_finetune,fashion"),
    ablation_warm_start: ("scratch_350,small", "warm_140,fashion"),
    ablation_ratio: (*ablation_ratio.L2_ROWS, "28,small"),
    ablation_soft_hard: ("hard_0.3,small",),
}
for _module in (
    ablation_amount, ablation_balancing, ablation_joint, ablation_noise, ablation_ratio, ablation_soft_hard,
    ablation_warm_start,
):  # fmt: skip
    _rows = list(_module.ROWS)
    _others = [f"{model}_{row}" for model in getattr(_module, "OTHERS", ()) for row in _rows]
    _further = FURTHER.get(_module, (f"{_rows[-1]},small",))
    FORMS[_module.__name__.removeprefix("ns_jax.configs.")] = (*_rows, *_others, *_further)
for _model in range(8):
    FORMS[f"b{_model}_ns"] = ("same_teacher", "l2_teacher")
for _iteration in (1, 2, 3):
    FORMS[f"l2_iter{_iteration}"] = ("official_loss", "paper_loss")


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


def named_chain(*order: str) -> ConfigDict:
    """The demo's smoke form as a chain of a teacher and a student, in an order."""
    config = mnist5k.get_config("smoke")
    with config.unlocked():
        config.chain = {"teacher": {"data": {"unlabeled": ""}}, "student": {}}
        config.chain_order = order
    return config
