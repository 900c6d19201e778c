"""How much of a recipe fits into the time that there is."""

import hypothesis
import pytest
from hypothesis import strategies

from ns_jax.errors import UserError
from ns_jax.fitting.budget import LEAST, START_SECONDS, Costs, Shape, describe_duration, fit_budget, parse_duration

COSTS = Costs(teacher_step=0.5, student_step=1.0, label_image=0.01)
SHAPE = Shape(150, 200, 1, 0, False, 1000, 500)


@pytest.mark.parametrize(
    "text, seconds", [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("1h 30m", 5400)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m30", "30 minutes", "-5m", "0m", "30s", "1h30"])
def test_no_durations(text):
    with pytest.raises(UserError, match="budget="):
        parse_duration(text)


def test_it_is_told_to_people():
    assert [describe_duration(s) for s in (45.2, 300, 7500)] == ["45 s", "5 min", "2 h 5 min"]


def test_time_of_a_run_by_hand():
    train, label, test = 1.15 * (150 * 0.5 + 200), 1000 * 0.01, 2 * 500 * 0.01
    assert SHAPE.seconds(COSTS) == pytest.approx(START_SECONDS + train + label + test)
    with_control = Shape(150, 200, 1, 0, True, 1000, 500)
    assert with_control.control_steps == 350
    assert with_control.seconds(COSTS) - SHAPE.seconds(COSTS) == pytest.approx(1.15 * 350 * 0.5 + 500 * 0.01)
    in_folds = Shape(150, 200, 1, 3, False, 1000, 500)
    # Three times two thirds of the steps, and three times the labels.
    assert in_folds.seconds(COSTS) - SHAPE.seconds(COSTS) == pytest.approx(2 * train + 3 * label)


@hypothesis.given(strategies.floats(10, 1e5))
def test_what_fits_is_as_much_as_fits(budget):
    shapes = [Shape(300, 400, students, 0, False, 1000, 500) for students in (3, 2, 1)]
    try:
        shape, said = fit_budget(shapes, COSTS, budget)
    except UserError as error:
        assert "too short" in str(error) and shapes[-1].scaled(LEAST).seconds(COSTS) > budget
        return
    assert shape.seconds(COSTS) <= budget + COSTS.student_step
    assert bool(said) == (shape not in shapes)
    for better in shapes[: 3 - shape.students]:
        assert better.scaled(LEAST).seconds(COSTS) > budget
    if said:
        more = shape.scaled(1.05)
        assert more.seconds(COSTS) > budget


def test_too_short():
    with pytest.raises(UserError, match=r"budget of 30 s is too short: .* this machine needs 5 min"):
        fit_budget([SHAPE], Costs(0.5, 1.0, 0.05), 30)
