"""How many unlabeled images (Table 10): B4 teaches B4 on a share of them.

  python -m ns_jax.main --config=configs/ablation_amount.py:1/16 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  python -m ns_jax.main --config=configs/ablation_amount.py:1/16,small --workdir=DIR

Meant for a TPU v3-128; ',small' for two CPU cores. Paper: 83.4, 83.3, 83.7, 83.9, 83.8, 84.0 for 1/128 to 1
of 130M images; baseline 83.2. The share is drawn from the filtered and balanced set. As many unlabeled as labeled
images in a step, as the first version of the paper has it for models below B7.
"""

from ns_jax.configs import ablation

ROWS = {"1": {}} | {f"1/{n}": {"unlabeled_fraction": 1 / n} for n in (128, 64, 32, 16, 4)}


def get_config(argument: str = "1"):
    c = ablation.get_config(argument, ROWS, "b4", "10")
    ablation.ratio_of_the_studies(c)
    return c
