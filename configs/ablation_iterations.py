"""Iterations (Table 7): the student becomes the teacher of the next one, up to three times.

  python -m ns_jax.main --config=configs/ablation_iterations.py:3,fashion --workdir=DIR

Two CPU cores, minutes; row 'control' is supervised training with as many images as a teacher and a student pass. On
ImageNet these are configs/l2_iter1.py to l2_iter3.py. Paper: 87.6, 88.1, 88.4 (the third with 28 unlabeled images per
labeled one instead of 14; here all with the same).
"""

from ns_jax.configs import ablation


def _students(count: int):
    def change(c) -> None:
        for number in range(1, count + 1):
            c.chain[f"iteration_{number}"] = {}

    return change


def _control(c) -> None:
    """As many images pass as in a teacher's and a student's training together."""
    teacher, student = c.chain.iteration_0, c.train_epochs * (1 + c.unlabeled_ratio)
    c.update({"labeled_batch_size": teacher.labeled_batch_size, "unlabeled_ratio": 0})
    c.update({key: teacher[key] for key in ("warmup_epochs", "base_learning_rate", "final_base_learning_rate")})
    c.train_epochs = teacher.train_epochs + student
    c.data.unlabeled = ""
    del c.chain.iteration_0, c.chain.iteration_1


ROWS = {str(count): _students(count) for count in (1, 2, 3)} | {"control": _control}


def get_config(argument: str = "3,fashion"):
    return ablation.on_the_study_set(argument, ROWS)
