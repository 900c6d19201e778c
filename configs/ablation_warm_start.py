"""A student that starts from its teacher's weights (Table 15): B0 teaches B0 for some epochs.

  python -m ns_jax.main --config=configs/ablation_warm_start.py:warm_140 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  python -m ns_jax.main --config=configs/ablation_warm_start.py:warm_140,small --workdir=DIR

Meant for a TPU v3-32; ',small' for two CPU cores. Paper: warm start with 35, 70, 140, 280 epochs 77.4, 77.5,
77.7, 77.8; from scratch with 350 epochs 77.9. The learning rate decays every 2.4 epochs of 350, in proportion.
"""

from ns_jax.configs import ablation

ROWS = {
    f"warm_{epochs}": {"init_from": "teacher", "train_epochs": float(epochs), "decay_epochs": 2.4 * epochs / 350}
    for epochs in (35, 70, 140, 280)
}
ROWS["scratch_350"] = {"train_epochs": 350.0, "decay_epochs": 2.4}


def get_config(argument: str = "warm_140"):
    c = ablation.get_config(argument, ROWS, "b0", "15")
    if c.data.labeled.startswith("fashion_mnist:"):  # there the schedule has other epochs, and ends at its own rate
        student = c.chain.iteration_1
        student.train_epochs = c.train_epochs * student.train_epochs / 350
        del student.decay_epochs
    return c
