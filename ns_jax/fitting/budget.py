"""How long a run takes, and how much of a recipe fits into the time that there is. Plain numbers, no jax."""

import dataclasses
import re

from ns_jax.errors import UserError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LEAST = 0.5  # of the planned steps: with fewer, students are worse than their teachers
START_SECONDS = 60.0  # of opening, compiling, the report: whatever the steps
LOADED = 1.15  # a step of a run takes so many times what it takes by itself: images are read beside it


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds on this machine.

    Attributes:
      teacher_step: a step on labeled images.
      student_step: a step on both.
      label_image: of labelling or testing an image.
    """

    teacher_step: float
    student_step: float
    label_image: float


@dataclasses.dataclass(frozen=True)
class Shape:
    """How much there is to do.

    Attributes:
      teacher_steps, student_steps: of an iteration.
      students: how many, one after the other.
      folds: of cross-validation; 0: none.
      control: whether a supervised model of as many steps is trained beside them.
      num_unlabeled, num_test: images.
    """

    teacher_steps: int
    student_steps: int
    students: int
    folds: int
    control: bool
    num_unlabeled: int
    num_test: int

    def seconds(self, costs: Costs) -> float:
        """How long it takes."""
        train = self.teacher_steps * costs.teacher_step + self.students * self.student_steps * costs.student_step
        # Without one of K folds an epoch has (K - 1) / K of the steps.
        train *= max(1, self.folds)
        train += self.control * self.control_steps * costs.teacher_step
        labeled = (1 + self.folds) * self.students * self.num_unlabeled
        tested = (1 + self.students + self.control) * self.num_test
        return START_SECONDS + LOADED * train + (labeled + tested) * costs.label_image

    @property
    def control_steps(self) -> int:
        """Steps of the supervised control: as many as teacher and students have together."""
        return self.teacher_steps + self.students * self.student_steps

    def scaled(self, factor: float) -> "Shape":
        """The same with `factor` times the steps."""
        return dataclasses.replace(
            self,
            teacher_steps=max(1, round(factor * self.teacher_steps)),
            student_steps=max(1, round(factor * self.student_steps)),
        )


def parse_duration(text: str) -> float:
    """Seconds of '30m', '2h', '1h30m' or '90s'. Raises UserError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise UserError(f"budget={text!r}: write a time as 30m, 2h or 1h30m")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if seconds < START_SECONDS:
        raise UserError(f"budget={text!r}: the start alone takes {describe_duration(START_SECONDS)}: give it minutes")
    return seconds


def describe_duration(seconds: float) -> str:
    """'45 s', '12 min' or '2 h 5 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def fit_budget(shapes: list[Shape], costs: Costs, budget: float) -> tuple[Shape, str]:
    """The first shape that fits into a time, with fewer steps where it must be, and what to say of it.

    Args:
      shapes: the best first. Each is also tried with down to LEAST of its steps before the next.
      costs: of this machine.
      budget: seconds.

    Raises:
      UserError: none fits; says what would.
    """
    for shape in shapes:
        if shape.seconds(costs) <= budget:
            return shape, ""
        low, high = LEAST, 1.0
        if shape.scaled(low).seconds(costs) > budget:
            continue
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if shape.scaled(middle).seconds(costs) <= budget else (low, middle)
        return shape.scaled(low), f"steps cut to {100 * low:.0f} % to fit into {describe_duration(budget)}"
    needs = shapes[-1].scaled(LEAST).seconds(costs)
    raise UserError(
        f"the budget of {describe_duration(budget)} is too short: with the fewest steps that can help, this machine "
        f"needs {describe_duration(needs)}; give it, or lower --config.resolution"
    )
