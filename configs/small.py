"""The small sets on which every ablation can be tried on a CPU. Not experiments themselves.

'small' is the demo's digits, a teacher and one student, about two minutes a run on two cores. 'fashion' is the study
set, Fashion-MNIST with few of its labels and 10,000 test images (about a minute a run): 'fashion:3:10' is draw 3 of the
labels, 10 of each class.
"""

from ns_jax.configs import common, mnist5k

SETS = ("small", "fashion[:DRAW[:LABELS]]")
LABELS = 25  # of each class of the study set

# Of the study set, all steps of so many labeled images.
TEACHER_BATCH, TEACHER_STEPS = 50, 400
STUDENT_BATCH, STUDENT_STEPS = 25, 700
RATIO = 3
WARMUP_STEPS = 40


def is_small_set(name: str) -> bool:
    """Whether 'small', 'fashion', 'fashion:3' or 'fashion:3:10' names a small set."""
    kind, *numbers = name.split(":")
    return name == "small" or (kind == "fashion" and len(numbers) <= 2 and all(part.isdecimal() for part in numbers))


def base(name: str = "small"):
    """A chain of a teacher and one student, to which an ablation gives its overrides, on the set called `name`."""
    if name == "small":
        return digits()
    draw, labels = (int(text) for text in (name.split(":")[1:] + ["0", str(LABELS)][name.count(":") :]))
    return fashion(draw, labels)


def digits():
    c = mnist5k.get_config("chain")
    del c.chain.iteration_2, c.chain.iteration_3
    return c


def fashion(draw: int = 0, labels: int = LABELS):
    """The study set. The settings were chosen on draw 10, by the unlabeled images' labels, which no run sees.

    Args:
      draw: of the labels.
      labels: of each class.
    """
    c = common.get_config()
    c.variant = "efficientnet-small"
    c.dtype = "float32"
    c.data.labeled = f"fashion_mnist:labeled:{draw}:{labels}"
    c.data.unlabeled = f"fashion_mnist:unlabeled:{draw}:{labels}"
    c.data.test = "fashion_mnist:test"

    c.augment = ("pad4", "flip", "randaugment")
    c.noise.randaugment_magnitude = 10.0
    c.noise.randaugment_set = "digits"
    c.labeled_batch_size = STUDENT_BATCH
    c.unlabeled_ratio = RATIO
    c.loss_reduction = "official"
    c.train_epochs = epochs(STUDENT_STEPS, labels)
    c.warmup_epochs = epochs(WARMUP_STEPS, labels)
    c.base_learning_rate, c.final_base_learning_rate = 0.06, 0.006
    c.ema_decay = 0.98
    c.temperature = 0.5
    c.images_per_class = 6000 - labels
    c.eval_batch_size = 1000
    c.log_every_steps = 100
    c.checkpoint_every_steps = 350

    common.chain(c, students=1)
    c.chain.iteration_0.update(
        {
            "labeled_batch_size": TEACHER_BATCH,
            "train_epochs": epochs(TEACHER_STEPS, labels, TEACHER_BATCH),
            "warmup_epochs": epochs(WARMUP_STEPS, labels, TEACHER_BATCH),
            "base_learning_rate": c.base_learning_rate / 2,
            "final_base_learning_rate": c.final_base_learning_rate / 2,
        }
    )
    return c


def epochs(steps: int, labels: int, batch: int = STUDENT_BATCH) -> float:
    """How many passes over the study set's labeled images `steps` are."""
    return steps * batch / (10 * labels)


def change_unlabeled(c, change: str) -> None:
    """Changes the unlabeled images of the study set's student, see ns_jax/data/sources/fashion_mnist.py."""
    c.chain.iteration_1.data = {"unlabeled": f"{c.data.unlabeled}:{change}"}
