"""EfficientNet-B1 as a noisy student, of an equal teacher or of L2.

  python -m ns_jax.main --config=configs/b1_ns.py --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  ... --config=configs/b1_ns.py:l2_teacher with the model of l2_iter3

Meant for a TPU v3-32 (not measured). Paper, top-1: 80.2 with an equal teacher (v4, read from a plot), 81.5 with L2 as
the teacher. Recipe: configs/imagenet.py.
"""

from ns_jax.configs import common, imagenet

TEACHERS = {"same_teacher": "b1_teacher/model", "l2_teacher": "l2_iter3/finetune/model"}


def get_config(form: str = "same_teacher"):
    c = imagenet.student("b1", common.choose(TEACHERS, form))
    c.paper_row = f"9/efficientnet-b1 {form}"
    return c
