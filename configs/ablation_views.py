"""Pseudo-labels made in the training step, as FixMatch and Mean Teacher make them. The paper has no such experiment.

  python -m ns_jax.main --config=configs/ablation_views.py:ema_weak --workdir=DIR

Two CPU cores, minutes. Rows are a student of one iteration:

  stored           the method: the teacher's labels are stored, and filtered at 0.8 (the demo's student)
  online           the teacher labels the clean image inside the step; labels below 0.8 do not count
  online_weak      the same, of a weak view: shifted (and on the study set flipped)
  ema              the student starts from its teacher, and is taught by its own EMA
  ema_weak         the same, by weak views
  ema_confidence   as ema_weak, every label weighted by its confidence instead of dropped below 0.8
"""

from ns_jax.configs import small

THRESHOLD = 0.8  # the demo's
ONLINE = {"online_teacher": True, "min_confidence": 0.0, "images_per_class": 0, "online_min_confidence": THRESHOLD}
EMA = {**ONLINE, "online_ema": True, "init_from": "teacher"}
#          overrides of the student, and whether the teacher's view is weakly augmented
ROWS = {
    "stored": ({}, False),
    "online": (ONLINE, False),
    "online_weak": (ONLINE, True),
    "ema": (EMA, False),
    "ema_weak": (EMA, True),
    "ema_confidence": (EMA | {"online_min_confidence": 0.0, "pseudo_label_weight": "confidence"}, True),
}


def get_config(argument: str = "ema_weak"):
    row, _, data = argument.partition(",")
    data = data or "small"
    if row not in ROWS or not small.is_small_set(data):
        raise ValueError(
            f"the argument is ROW or ROW,SET, with ROW one of {', '.join(ROWS)} and SET one of "
            f"{', '.join(small.SETS)}; not {argument!r}"
        )
    c = small.base(data)
    overrides, is_weak = ROWS[row]
    weak = {"online_augment": tuple(name for name in c.augment if name != "randaugment")} if is_weak else {}
    c.chain.iteration_1 = {**overrides, **weak}
    return c
