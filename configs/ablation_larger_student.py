"""A larger student (Table 11): B0 to B0 or B1, B2 to B2 or B3, B4 to B4 or B5, B7 to B7 or L2.

  python -m ns_jax.main --config=configs/ablation_larger_student.py:b0_b1 --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  python -m ns_jax.main --config=configs/ablation_larger_student.py:b0_b1,small --workdir=DIR

Meant for a TPU v3-128, L2 for a v3-2048; ',small' for two CPU cores, where the teacher is the demo's model and a larger
student has 1.5 times its width and depth. Paper: B0 77.9, B1 79.5; B2 80.7, B3 82.0; B4 84.0, B5 84.7; B7 86.9,
L2 87.2. 350 epochs, as many unlabeled as labeled images. The teacher B7 was a noisy student itself, L2 saw 3 and B7 7
unlabeled images per labeled one. (Epochs, ratios and that teacher are recalled, not verified.)
"""

from ns_jax.configs import imagenet, small

#            unlabeled ratio
PAIRS = {
    "b0_b0": 1, "b0_b1": 1, "b2_b2": 1, "b2_b3": 1, "b4_b4": 1, "b4_b5": 1, "b7_b7": 7, "b7_l2": 3,
}  # fmt: skip


def get_config(argument: str = "b0_b1"):
    pair, _, data = argument.partition(",")
    if pair not in PAIRS or not (data == "" or small.is_small_set(data)):
        raise ValueError(
            f"the argument is PAIR or PAIR,SET, with PAIR one of {', '.join(PAIRS)} and SET one of "
            f"{', '.join(small.SETS)}; not {argument!r}"
        )
    teacher, model = pair.split("_")
    if data:
        c = small.base(data)
        larger = {} if model == teacher else {"variant": "efficientnet-small-1.5"}
        c.chain.iteration_0.paper_row = f"9/efficientnet-{teacher} supervised"
        c.chain.iteration_1 = {**larger, "paper_row": f"11/{pair}"}
        return c
    c = imagenet.student(model, "b7_ns/model" if teacher == "b7" else f"{teacher}_teacher/model")
    c.train_epochs, c.decay_epochs, c.unlabeled_ratio = 350.0, 2.4, PAIRS[pair]
    c.paper_row = f"11/{pair}"
    return c
