"""What the ablations share. Not an experiment itself.

An ablation's argument is ROW or ROW,small: on ImageNet a student of a given teacher, or on the demo's
digits a teacher and a student, the same change in both.
"""

from ns_jax.configs import imagenet, small


def get_config(argument: str, rows: dict, model: str, table: str):
    """Returns the config of a row of the paper's table.

    Args:
      argument: 'ROW' or 'ROW,small'.
      rows: {name: overrides of the student's config, nested as the config is}.
      model: of the ImageNet form, teacher and student.
      table: of the paper, for `paper_row`.

    Raises:
      ValueError: there is no such row.
    """
    row, _, data = argument.partition(",")
    if row not in rows or data not in ("", "small"):
        raise ValueError(f"the argument is ROW or ROW,small, with ROW one of {', '.join(rows)}; not {argument!r}")
    if data == "small":
        c = small.base()
        c.chain.iteration_0.paper_row = f"9/efficientnet-{model} supervised"
        c.chain.iteration_1 = {**rows[row], "paper_row": f"{table}/{row}"}
        return c
    c = imagenet.student(model, f"{model}_teacher/model")
    c.update(rows[row])
    c.paper_row = f"{table}/{row}"
    return c
