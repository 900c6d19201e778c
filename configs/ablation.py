"""What the ablations share. Not an experiment itself.

An ablation's argument is ROW or ROW,SET: on ImageNet a student of a given teacher, or on a set of configs/small.py,
'small' or 'fashion', a teacher and a student, the same change in both.
"""

from ns_jax.configs import imagenet, small


def get_config(argument: str, rows: dict, model: str, table: str, others: tuple[str, ...] = ()):
    """Returns the config of a row of the paper's table.

    Args:
      argument: 'ROW' or 'ROW,SET'; for one of `others` 'MODEL_ROW'.
      rows: {name: overrides of the student's config, nested as the config is}.
      model: of the ImageNet form, teacher and student.
      table: of the paper, for `paper_row`.
      others: further models of which the paper has the same rows.

    Raises:
      ValueError: there is no such row.
    """
    row, _, data = argument.partition(",")
    by_name = {name: (model, name) for name in rows}
    by_name |= {f"{other}_{name}": (other, name) for other in others for name in rows}
    if row not in by_name or (data and not (small.is_small_set(data) and row in rows)):
        raise ValueError(
            f"the argument is ROW or ROW,SET, with ROW one of {', '.join(rows)} and SET one of {', '.join(small.SETS)}"
            + (f", or MODEL_ROW with one of {', '.join(others)}" if others else "")
            + f"; not {argument!r}"
        )
    model, overrides = by_name[row][0], rows[by_name[row][1]]
    if data:
        c = small.base(data)
        c.chain.iteration_0.paper_row = f"9/efficientnet-{model} supervised"
        c.chain.iteration_1 = {**overrides, "paper_row": f"{table}/{row}"}
        return c
    c = imagenet.student(model, f"{model}_teacher/model")
    c.update(overrides)
    c.paper_row = f"{table}/{row}"
    return c


def on_the_study_set(argument: str, rows: dict):
    """Returns the config of a row of a study that the paper has in words alone, 'ROW,fashion': a teacher and a student.

    Args:
      argument: 'ROW,SET', SET a form of 'fashion'.
      rows: {name: function that changes the config}.

    Raises:
      ValueError: there is no such row, or the set is another one.
    """
    row, _, data = argument.partition(",")
    if row not in rows or not data.startswith("fashion") or not small.is_small_set(data):
        raise ValueError(
            f"the argument is ROW,fashion[:DRAW[:LABELS]], with ROW one of {', '.join(rows)}; not {argument!r}"
        )
    c = small.base(data)
    rows[row](c)
    return c


def epochs_of_the_studies(c) -> None:
    """350 epochs for every size: the appendix, from its fourth study on (recalled, not verified)."""
    if not c.chain:
        c.train_epochs, c.decay_epochs = 350.0, 2.4


def ratio_of_the_studies(c) -> None:
    """As many unlabeled as labeled images below B7: the appendix, from its second study on (recalled, not verified)."""
    if not c.chain:
        c.unlabeled_ratio = 1
