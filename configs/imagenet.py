"""What the ImageNet experiments share. Not an experiment itself.

Where the paper (arXiv v4) and the official code disagree, these follow the paper in the labeled batch (2048; the code's
default is 4096), the filter and the balance, and the code in the rest: loss, batch norm, dtypes, per-model RandAugment,
dropout, epochs and ratios (local_scripts/imagenet/train.sh), optimiser, EMA and label smoothing.

One selection serves all students, as in the paper: a B0 labels, filters and balances the unlabeled images
(configs/imagenet_selection.py), and each teacher labels those that it kept.
"""

from ns_jax.configs import common

CROP_AND_FLIP = ("random_area", "flip")
RANDAUGMENT = (*CROP_AND_FLIP, "randaugment")
#        of the student: RandAugment magnitude (None: only crop and flip), epochs, unlabeled ratio
RECIPES = {
    "b0": (None, 700.0, 1), "b1": (None, 700.0, 3), "b2": (6.0, 700.0, 3), "b3": (12.0, 700.0, 3),
    "b4": (15.0, 700.0, 3), "b5": (18.0, 350.0, 3), "b6": (24.0, 350.0, 3), "b7": (27.0, 350.0, 3),
    "l2": (27.0, 350.0, 14),
}  # fmt: skip
# The paper's baselines all have RandAugment (v4); no source has a magnitude for B0 and B1: the smallest of the others.
BASELINE_MAGNITUDE = 6.0


def supervised(model: str, randaugment: bool = True):
    """`model` ('b0' ... 'b7', 'l2') on the labeled images, 350 epochs.

    Magnitudes of RandAugment are those of the students; the official README of the tpu code has 17 for a supervised B5
    and 28 for B7.
    """
    c = common.get_config()
    c.variant = f"efficientnet-{model}"
    c.data.labeled = "tfds:imagenet2012/train"
    c.data.test = "tfds:imagenet2012/validation"
    c.augment = RANDAUGMENT if randaugment else CROP_AND_FLIP
    c.noise.randaugment_magnitude = (RECIPES[model][0] or BASELINE_MAGNITUDE) if randaugment else 0.0
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


def baseline(model: str, form: str = "randaugment"):
    """`model` on the labeled images, as a row of the paper's Table 9, or 'plain': with crop and flip alone."""
    c = supervised(model, randaugment=common.choose({"randaugment": True, "plain": False}, form))
    c.paper_row = f"9/efficientnet-{model} {'supervised' if form == 'randaugment' else form}"
    return c


def student(model: str, teacher: str):
    """`model` as the student of the model in the folder `teacher`; the paper's unlabeled images are not public."""
    magnitude, epochs, ratio = RECIPES[model]
    c = supervised(model, randaugment=magnitude is not None)
    c.train_epochs, c.decay_epochs, c.unlabeled_ratio = epochs, 2.4 * epochs / 350.0, ratio
    c.teacher = teacher
    c.data.unlabeled = "folder:unlabeled"
    c.selection_from = "imagenet_selection"
    return c


def select_by_itself(c) -> None:
    """The teacher's own labels decide what is trained on: for studies of the filter and the balance themselves."""
    c.selection_from = ""


def finetune_l2(c) -> None:
    """1.5 epochs at 800 px. How many shallow layers are fixed is not known; here it is the first three stages."""
    c.finetune.epochs = 1.5
    c.finetune.resolution = 800
    c.finetune.frozen_blocks = 28


def l2(teacher: str, ratio: int, form: str = "official_loss"):
    """L2 at 475 px, then 1.5 epochs at 800 px. There is no official script for L2.

    Args:
      teacher: folder of its model.
      ratio: unlabeled images per labeled one.
      form: 'official_loss', labeled + ratio x unlabeled, as the code has it for every model; or 'paper_loss', the mean
        over both batches, as the paper's text has it: 1 + ratio times smaller at the same learning rate and epsilon.
    """
    c = student("l2", teacher)
    c.unlabeled_ratio = ratio
    c.loss_reduction = common.choose({"official_loss": "official", "paper_loss": "paper"}, form)
    finetune_l2(c)
    return c
