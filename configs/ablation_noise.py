"""Ablation of the noise (Table 6): B5 teaches B5; noise is taken away for unlabeled images alone.

  python -m ns_jax.main --config=configs/ablation_noise.py:no_aug --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES
  python -m ns_jax.main --config=configs/ablation_noise.py:no_aug,small --workdir=DIR

Meant for a TPU v3-256; ',small' for two CPU cores. Paper, 130M images: noised student 85.1, without
augmentation 84.6, without augmentation, stochastic depth and dropout 84.3, with a noised teacher 84.4
(and everything else noised); the teacher alone 84.0. Follows the paper.
"""

from ns_jax.configs import ablation

ROWS = {
    "noised": {},
    "no_aug": {"augment_unlabeled": ()},
    "no_noise": {"augment_unlabeled": (), "noise": {"model_noise_unlabeled": False}},
    "noised_teacher": {"noise": {"teacher": True}},
}


def get_config(argument: str = "noised"):
    return ablation.get_config(argument, ROWS, "b5", "6")
