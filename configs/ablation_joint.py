"""Joint training against pre-training on pseudo-labels and fine-tuning on labels (Table 13): B0 teaches B0.

  python -m ns_jax.main --config=configs/ablation_joint.py:pretrain_finetune --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES
  python -m ns_jax.main --config=configs/ablation_joint.py:pretrain_finetune,small --workdir=DIR

Meant for a TPU v3-32; ',small' for two CPU cores. Paper: supervised 77.3, pre-training 72.6, pre-training
and fine-tuning 77.5, joint 77.9. 350 epochs; the paper varied the fine-tuning steps and reports the best,
here 35 epochs at a tenth of the learning rate.
"""

from ns_jax.configs import ablation

ROWS = {
    "joint": {},
    "pretrain": {"train_on": "pseudo_labels"},
    "pretrain_finetune": {"train_on": "pseudo_labels", "finetune": {"epochs": 35.0, "base_learning_rate": 0.0016}},
}


def get_config(argument: str = "joint"):
    c = ablation.get_config(argument, ROWS, "b0", "13")
    if not c.chain:
        c.train_epochs, c.decay_epochs = 350.0, 2.4
        c.finetune.augment = c.augment
    elif "finetune" in c.chain.iteration_1:
        c.chain.iteration_1.finetune.update({"augment": c.augment, "base_learning_rate": c.base_learning_rate / 10})
    return c
