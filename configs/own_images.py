"""Your own images: a trained start, a teacher on few labels, noisy students, and validation that says which to keep.

  python -m ns_jax.fit --labeled=DIR --unlabeled=DIR --test=DIR --workdir=DIR

`ns_jax.fit` looks at the images, measures this machine, and sets what they decide: resolution, steps, EMA, warm-up,
validation. Without it, the recipe is that of some hundred labeled images on two CPU cores:

  python -m ns_jax.main --config=configs/own_images.py --workdir=DIR \
    --config.data.labeled=folder:DIR --config.data.unlabeled=folder:DIR --config.data.test=folder:DIR

The paper has no such experiment. What differs from its recipe, and why: docs/own_images.md. Chosen on the solar cells
of configs/solar_cells.py, on draws of the labels that its table does not show.
"""

from ns_jax.configs import common

STUDENTS = 1


def get_config():
    c = common.get_config()
    c.variant = "efficientnet-lite0"
    c.init_from = "efficientnet-lite0"
    c.dtype = "float32"

    # A new head on few classes, batches of few images, some hundred steps.
    c.head_init = "inputs"
    c.bn_momentum = 0.9
    c.ema_decay = 0.95

    c.resolution = c.test_resolution = 160
    c.crop_padding = 0  # what lies at the border of an image counts
    c.augment = ("random_area", "flip")
    c.crop_min_area = 0.6
    c.data.exif_orientation = True
    c.data.max_broken_fraction = 0.05
    c.noise.stochastic_depth_rate = 0.1
    c.noise.dropout_rate = 0.2

    c.labeled_batch_size = 20
    c.unlabeled_ratio = 3
    c.base_learning_rate = 0.003  # a start is not to be forgotten
    c.train_epochs = 30.0
    c.head_epochs = 8.0  # first the new head, then all of it
    c.warmup_epochs = 3.0
    c.decay_epochs = 1.0

    # All pseudo-labels, as sure as the teacher is of them: no threshold, no equal classes where the truth has none.
    c.calibrate = True
    c.temperature = 0.5
    c.min_confidence = 0.0
    c.images_per_class = 0
    c.min_images_of_class = 1
    c.validation_fraction = 0.2

    c.eval_batch_size = 64
    c.log_every_steps = 25
    c.checkpoint_every_steps = 100

    common.chain(c, STUDENTS)
    # Half the labeled images a step, so twice the rate per labeled image: the same rate as the teacher's.
    student = {
        "labeled_batch_size": 10,
        "base_learning_rate": 0.006,
        "train_epochs": 20.0,
        "head_epochs": 4.0,
        "warmup_epochs": 2.0,
    }
    for number in range(1, STUDENTS + 1):
        c.chain[f"iteration_{number}"] = student
    return c
