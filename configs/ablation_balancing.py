"""With and without balancing of the classes (Table 12): B0 teaches B0, B1 B1, ...

  python -m ns_jax.main --config=configs/ablation_balancing.py:unbalanced --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES
  python -m ns_jax.main --config=configs/ablation_balancing.py:b3_unbalanced --workdir=DIR ...
  python -m ns_jax.main --config=configs/ablation_balancing.py:unbalanced,small --workdir=DIR

Meant for a TPU v3-32; ',small' for two CPU cores. Paper: balancing helps small models most; its figures are
not verified (B0 to B3 77.9, 79.9, 80.7, 82.1, without 77.6, 79.6, 80.6, 82.1). 350 epochs, as many
unlabeled as labeled images (recalled, not verified). Each teacher selects by its own labels: a finished selection
is balanced already. On the study set the unlabeled images are long-tailed.
"""

from ns_jax.configs import ablation, imagenet, small

ROWS = {"balanced": {}, "unbalanced": {"images_per_class": 0}}
OTHERS = ("b1", "b2", "b3")


def get_config(argument: str = "balanced"):
    c = ablation.get_config(argument, ROWS, "b0", "12", OTHERS)
    if c.data.unlabeled.startswith("fashion_mnist:"):
        small.change_unlabeled(c, "long_tail")
        if argument.startswith("balanced"):
            c.chain.iteration_1.images_per_class = 1500  # on average there are 1,480
    imagenet.select_by_itself(c)
    ablation.epochs_of_the_studies(c)
    ablation.ratio_of_the_studies(c)
    return c
