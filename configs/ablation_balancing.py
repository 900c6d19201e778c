"""With and without balancing of the classes (Table 12): B0 teaches B0.

  python -m ns_jax.main --config=configs/ablation_balancing.py:unbalanced --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES
  python -m ns_jax.main --config=configs/ablation_balancing.py:unbalanced,small --workdir=DIR

Meant for a TPU v3-32; ',small' for two CPU cores. Paper: balancing helps small models most; its figures are
not verified (B0 77.9 and 77.6). 350 epochs, as many unlabeled as labeled images.
"""

from ns_jax.configs import ablation

ROWS = {"balanced": {}, "unbalanced": {"images_per_class": 0}}


def get_config(argument: str = "balanced"):
    c = ablation.get_config(argument, ROWS, "b0", "12")
    if not c.chain:
        c.train_epochs, c.decay_epochs = 350.0, 2.4
    return c
