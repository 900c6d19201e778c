"""The ratio of unlabeled to labeled images in a step (Table 14): B4 teaches B4, or L2 teaches L2.

  python -m ns_jax.main --config=configs/ablation_ratio.py:3 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  python -m ns_jax.main --config=configs/ablation_ratio.py:l2_87.4_6 --workdir=DIR ...
  python -m ns_jax.main --config=configs/ablation_ratio.py:3,small --workdir=DIR

Meant for a TPU v3-128, with L2 for a v3-2048; ',small' for two CPU cores. Paper (none of it verified): B4 84.0 at 1,
84.4 at 3; L2 with a teacher of 87.0 86.7 at 1, 87.4 at 3, with one of 87.4 87.4 at 3, 87.9 at 6. 350 epochs (not
verified). That the student of L2 is an L2 is assumed; without the fine-tuning.
"""

from ns_jax.configs import ablation, imagenet

ROWS = {ratio: {"unlabeled_ratio": int(ratio)} for ratio in ("1", "3", "6", "14", "28")}
L2_ROWS = {"l2_87.0_1": 1, "l2_87.0_3": 3, "l2_87.4_3": 3, "l2_87.4_6": 6}


def get_config(argument: str = "3"):
    if argument in L2_ROWS:
        c = imagenet.student("l2", f"{argument.rpartition('_')[0]}/model")
        c.unlabeled_ratio = L2_ROWS[argument]
        c.paper_row = f"14/{argument}"
        return c
    c = ablation.get_config(argument, ROWS, "b4", "14")
    ablation.epochs_of_the_studies(c)
    return c
