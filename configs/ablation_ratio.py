"""The ratio of unlabeled to labeled images in a step (Table 14): B4 teaches B4.

  python -m ns_jax.main --config=configs/ablation_ratio.py:3 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES
  python -m ns_jax.main --config=configs/ablation_ratio.py:3,small --workdir=DIR

Meant for a TPU v3-128; ',small' for two CPU cores. Paper: 84.0 at 1, 84.4 at 3 (not verified); with L2 as
the teacher higher ratios help more.
"""

from ns_jax.configs import ablation

ROWS = {ratio: {"unlabeled_ratio": int(ratio)} for ratio in ("1", "3", "6", "14", "28")}


def get_config(argument: str = "3"):
    return ablation.get_config(argument, ROWS, "b4", "14")
