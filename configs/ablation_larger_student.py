"""A larger student (Table 11): B0 to B0 or B1, B2 to B2 or B3, B4 to B4 or B5.

  python -m ns_jax.main --config=configs/ablation_larger_student.py:b0_b1 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES

Meant for a TPU v3-128. Paper: B0 77.9, B1 79.5; B2 80.7, B3 82.0; B4 84.0, B5 84.7. 350 epochs, as many
unlabeled as labeled images (recalled, not verified).
"""

from ns_jax.configs import imagenet

PAIRS = ("b0_b0", "b0_b1", "b2_b2", "b2_b3", "b4_b4", "b4_b5")


def get_config(pair: str = "b0_b1"):
    if pair not in PAIRS:
        raise ValueError(f"the argument is one of {', '.join(PAIRS)}, not {pair!r}")
    teacher, model = pair.split("_")
    c = imagenet.student(model, f"{teacher}_teacher/model")
    c.train_epochs, c.decay_epochs, c.unlabeled_ratio = 350.0, 2.4, 1
    c.paper_row = f"11/{pair}"
    return c
