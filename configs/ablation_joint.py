"""Joint training against pre-training on pseudo-labels and fine-tuning on labels (Table 13): B0 teaches B0, B1 B1, ...

  python -m ns_jax.main --config=configs/ablation_joint.py:pretrain_finetune --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  python -m ns_jax.main --config=configs/ablation_joint.py:b3_joint --workdir=DIR ...
  python -m ns_jax.main --config=configs/ablation_joint.py:pretrain_finetune,small --workdir=DIR

Meant for a TPU v3-32; ',small' for two CPU cores. Paper, B0 to B3: supervised 77.3, 79.2, 80.0, 81.7; pre-training
72.6, 75.1, 75.9, 76.5; with fine-tuning 77.5, 79.4, 80.3, 81.7; joint 77.9, 79.9, 80.7, 82.1. 350 epochs, as many
unlabeled as labeled images (not verified). The paper varied the fine-tuning steps and reports the best, here 35 epochs
at a tenth of the learning rate.
"""

from ns_jax.configs import ablation

ROWS = {
    "joint": {},
    "pretrain": {"train_on": "pseudo_labels"},
    "pretrain_finetune": {"train_on": "pseudo_labels", "finetune": {"epochs": 35.0, "base_learning_rate": 0.0016}},
}
OTHERS = ("b1", "b2", "b3")


def get_config(argument: str = "joint"):
    c = ablation.get_config(argument, ROWS, "b0", "13", OTHERS)
    ablation.epochs_of_the_studies(c)
    ablation.ratio_of_the_studies(c)
    if not c.chain:
        c.finetune.augment = c.augment
    elif "finetune" in c.chain.iteration_1:
        if c.data.labeled.startswith("fashion_mnist:"):  # there the schedule has other epochs
            c.chain.iteration_1.finetune.epochs = c.train_epochs / 10
        c.chain.iteration_1.finetune.update({"augment": c.augment, "base_learning_rate": c.base_learning_rate / 10})
    return c
