"""The unlabeled images that all students train on: labeled, filtered and balanced by an EfficientNet-B0.

  python -m ns_jax.main --config=configs/imagenet_selection.py --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES

TEACHER is the folder of b0_teacher. Paper, section 3.1: confidence above 0.3, at most the 130,000 most confident images
of a class, duplicated up to that number where there are fewer: 130M images, 81M of them unique. Students take the
selection by --config.selection_from=DIR, and their teachers label its images anew. Only the stages label and select.
Meant for a TPU v3-32 (not measured).
"""

from ns_jax.configs import imagenet


def get_config():
    c = imagenet.student("b0", "b0_teacher/model")
    imagenet.select_by_itself(c)
    c.stages = ("label", "select")
    return c
