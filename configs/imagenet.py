"""What the ImageNet experiments share. Not an experiment itself.

Where the paper (arXiv v4) and the official code disagree, these follow the paper in the labeled
batch (2048; the code's default is 4096), the filter and the balance, and the code in what the paper
leaves open: per-model RandAugment, dropout, epochs and ratios (local_scripts/imagenet/train.sh),
optimiser, EMA, label smoothing and loss weighting.
"""

from ns_jax.configs import common

CROP_AND_FLIP = ("random_area", "flip")
RANDAUGMENT = (*CROP_AND_FLIP, "randaugment")
#        RandAugment magnitude (None: only crop and flip), epochs, unlabeled ratio
RECIPES = {
    "b0": (None, 700.0, 1), "b1": (None, 700.0, 3), "b2": (6.0, 700.0, 3), "b3": (12.0, 700.0, 3),
    "b4": (15.0, 700.0, 3), "b5": (18.0, 350.0, 3), "b6": (24.0, 350.0, 3), "b7": (27.0, 350.0, 3),
    "l2": (27.0, 350.0, 14),
}  # fmt: skip


def supervised(model: str):
    """`model` ('b0' ... 'b7', 'l2') on the labeled images, 350 epochs."""
    c = common.get_config()
    c.variant = f"efficientnet-{model}"
    c.data.labeled = "tfds:imagenet2012/train"
    c.data.test = "tfds:imagenet2012/validation"
    magnitude = RECIPES[model][0]
    c.augment = CROP_AND_FLIP if magnitude is None else RANDAUGMENT
    c.noise.randaugment_magnitude = magnitude or 0.0
    c.train_epochs, c.decay_epochs = 350.0, 2.4
    c.loss_reduction = "official"
    c.bn_group_size = -1  # the official groups
    c.prediction_dtype = "float32"  # predict.sh, eval.sh
    if model == "l2":
        # Without these, a step needs many times a core's memory, and hours to compile (docs/pods.md).
        c.parallel.scan_blocks = c.parallel.remat = True
        c.parallel.shard_state = 16  # 29 images on a core of v3 do not fit beside the whole state
        c.eval_batch_size = 8192  # 4 on each of 2048 cores
    return c


def student(model: str, teacher: str):
    """`model` as the student of the model in the folder `teacher`; the paper's unlabeled images are not public."""
    c = supervised(model)
    _, c.train_epochs, c.unlabeled_ratio = RECIPES[model]
    c.decay_epochs = 2.4 * c.train_epochs / 350.0
    c.teacher = teacher
    c.data.unlabeled = "folder:unlabeled"
    return c


def l2(teacher: str, ratio: int):
    """L2 at 475 px, then 1.5 epochs at 800 px. The paper's text in everything: there is no official script for L2.

    How many shallow layers are fixed in fine-tuning is not known; here it is the first three stages.
    """
    c = student("l2", teacher)
    c.unlabeled_ratio = ratio
    c.loss_reduction = "paper"
    c.finetune.epochs = 1.5
    c.finetune.resolution = 800
    c.finetune.frozen_blocks = 28
    return c
