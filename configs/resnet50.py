"""ResNet-50, supervised and as a noisy student (Table 16).

  python -m ns_jax.main --config=configs/resnet50.py:teacher --workdir=DIR
  python -m ns_jax.main --config=configs/resnet50.py:student --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION

Meant for a TPU v3-32. Paper: 77.6 / 93.8 (top-1 / top-5) supervised, 78.9 / 94.3 as a student; its teacher
and hyper-parameters are not given, these are those of EfficientNet-B0 with RandAugment and without
stochastic depth.
"""

from ns_jax.configs import common, imagenet

FORMS = {"teacher": lambda: imagenet.supervised("b0"), "student": lambda: imagenet.student("b0", "teacher/model")}


def get_config(form: str = "student"):
    c = common.choose(FORMS, form)()
    c.variant = "resnet-50"
    c.augment = imagenet.RANDAUGMENT
    c.noise.randaugment_magnitude = 9.0
    c.noise.stochastic_depth_rate = 0.0
    c.train_epochs, c.decay_epochs = 350.0, 2.4
    c.paper_row = f"16/{form}"
    return c
