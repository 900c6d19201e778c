"""What a single field of a config may hold. A constraint takes a value and returns what is wrong, or ''."""

import math
import re
from collections.abc import Callable
from typing import Any

Constraint = Callable[[Any], str]
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def show(value: Any) -> str:
    """Returns `repr(value)`, shortened to 60 characters."""
    if isinstance(value, int) and abs(value) >= 10**60:
        return "a number of more than 60 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(interval: str) -> Constraint:
    """Returns the constraint to an interval, as '[0, 1)', '(0, inf)': a finite number within its ends."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    low_text, high_text = (end.strip() for end in interval[1:-1].split(","))
    includes_low, includes_high = interval[0] == "[", interval[-1] == "]"
    limits = [f"{'at least' if includes_low else 'above'} {low_text}"]
    if high < math.inf:
        limits.append(f"{'at most' if includes_high else 'below'} {high_text}")
    problem = f"must be {' and '.join(limits)}"

    def check(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if value != value or value in (math.inf, -math.inf):
            return "must be a finite number"
        above = value >= low if includes_low else value > low
        below = value <= high if includes_high else value < high
        return "" if above and below else problem

    return check


def numbers(interval: str) -> Constraint:
    """Returns the constraint to a tuple of at least one number, each within an interval, and no two equal."""
    of_each = number(interval)

    def check(value: Any) -> str:
        if not isinstance(value, tuple | list) or not value:
            return "must be a tuple of numbers, as (2, 4)"
        problems = [problem for item in value if (problem := of_each(item))]
        if problems:
            return f"{problems[0]}, each"
        return "" if len(set(value)) == len(value) else "must not have a number twice"

    return check


def one_of(*choices: str) -> Constraint:
    """Returns the constraint to some strings."""
    return lambda value: "" if value in choices else f"must be one of {', '.join(choices)}"


def text(value: Any) -> str:
    """Any string without a zero byte, which no path may have."""
    return "" if isinstance(value, str) and "\0" not in value else "must be text"


def name(value: Any) -> str:
    """A string that is not empty: a name in a registry, or an import path."""
    return "" if isinstance(value, str) and value.strip() else "must name something"


def names(value: Any) -> str:
    """A tuple, perhaps empty, of strings that are not."""
    if isinstance(value, tuple | list) and all(isinstance(item, str) and item.strip() for item in value):
        return ""
    return "must be a tuple of names, as ('flip', 'randaugment'); () is none"


def some_names(value: Any) -> str:
    """As `names`, and at least one."""
    return names(value) or ("" if value else "must name at least one")


def distinct_names(value: Any) -> str:
    """As `names`, and no two equal."""
    return names(value) or ("" if len(set(value)) == len(value) else "must not name anything twice")


def boolean(value: Any) -> str:
    """True or False."""
    return "" if isinstance(value, bool) else "must be True or False"
