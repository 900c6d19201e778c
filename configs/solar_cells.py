"""Solar cells, whole or defective: 100 labels, 1,868 photographs without, one student and a supervised control.

  python -m ns_jax.main --config=configs/solar_cells.py:0 --workdir=DIR

Hardware: two CPU cores, some 15 minutes, 7.4 GB. The extras solar and start bring the photographs and the weights.
The argument is the draw of the labels, 0, 1, 2, ...: 50 images of each class; the 656 test images are always the same.
The recipe is that of your own images (configs/own_images.py) without validation, and with what a cell allows: it looks
the same upside down and turned. The student is larger than its teacher, EfficientNet-Lite1. It was chosen on draws 10
to 12. The control is a Lite1 that is trained on the labels alone, with as many steps as teacher and student together
and the student's noise. The paper has no such experiment.
"""

from ns_jax.configs import own_images


def get_config(draw: str = "0"):
    if not draw.isdecimal():
        raise ValueError(f"the argument is the number of a draw of the labels, as 0, not {draw!r}")
    c = own_images.get_config()
    c.data.labeled = f"solar_cells:labeled:{draw}"
    c.data.unlabeled = f"solar_cells:unlabeled:{draw}"
    c.data.test = "solar_cells:test"
    c.data.exif_orientation, c.data.max_broken_fraction = False, 0.0
    c.augment = ("random_area", "flip", "flip_vertical", "quarter_turns")
    c.validation_fraction, c.calibrate = 0.0, False
    steps = teacher_steps(c) + student_steps(c)
    larger = {"variant": "efficientnet-lite1", "init_from": "efficientnet-lite1"}
    c.chain.iteration_1.update(larger)
    c.chain.control = {"data": {"unlabeled": ""}, "train_epochs": steps * c.labeled_batch_size / LABELED, **larger}
    c.chain_order = ("iteration_0", "iteration_1", "control")
    return c


LABELED = 100


def teacher_steps(c) -> float:
    return c.train_epochs * LABELED / c.labeled_batch_size


def student_steps(c) -> float:
    student = c.chain.iteration_1
    return student.train_epochs * LABELED / student.labeled_batch_size
