"""Soft against hard pseudo-labels by confidence (study 3): B0 teaches B0 on one interval of confidence.

  python -m ns_jax.main --config=configs/ablation_soft_hard.py:hard_0.3 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES
  python -m ns_jax.main --config=configs/ablation_soft_hard.py:hard_0.3,small --workdir=DIR

Rows are soft_X and hard_X, X the start of an interval of 0.1. Meant for a TPU v3-32; ',small' for two CPU
cores. Paper (read from a plot): baseline 77.30; soft 77.5 to 78.1 everywhere, hard from 75.8 at 0.0 to 77.9
at 0.9. 1.3M images an interval there; here all of it, without balancing. Each teacher selects by its own labels.
"""

from ns_jax.configs import ablation, imagenet

ROWS = {
    f"{kind}_{tenth / 10}": {
        "pseudo_label": kind,
        "min_confidence": tenth / 10,
        "max_confidence": (tenth + 1) / 10,
        "images_per_class": 0,
    }
    for kind in ("soft", "hard")
    for tenth in range(10)
}


def get_config(argument: str = "soft_0.9"):
    c = ablation.get_config(argument, ROWS, "b0", "soft_hard")
    imagenet.select_by_itself(c)
    return c
