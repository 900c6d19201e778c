"""EfficientNet-B5 as a noisy student, of an equal teacher or of L2.

  python -m ns_jax.main --config=configs/b5_ns.py --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION
  ... --config=configs/b5_ns.py:l2_teacher with the model of l2_iter3

Meant for a TPU v3-256 (not measured). Paper, top-1: 85.1 with an equal teacher (v4), 86.1 with L2 as
the teacher. Recipe: configs/imagenet.py.
"""

from ns_jax.configs import common, imagenet

TEACHERS = {"same_teacher": "b5_teacher/model", "l2_teacher": "l2_iter3/finetune/model"}


def get_config(form: str = "same_teacher"):
    c = imagenet.student("b5", common.choose(TEACHERS, form))
    c.paper_row = f"9/efficientnet-b5 {form}"
    return c
