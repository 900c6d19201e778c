"""The scalars of a training, step by step, as ns_jax/report/writer.py leaves them."""

import json

import numpy as np
from etils import epath

SCALARS = "scalars.jsonl"


def read_scalars(logs: epath.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name: (steps int64 [N], values float64 [N])} of the folder `logs`, ascending; empty where nothing is written.

    A step that was done again, after an interruption, counts as it was the last time. A line that a crash cut off is
    left out.
    """
    path = logs / SCALARS
    if not path.exists():
        return {}
    by_name: dict[str, dict[int, float]] = {}
    for line in path.read_text().splitlines():
        try:
            scalars = json.loads(line)
        except json.JSONDecodeError:
            continue
        step = scalars.pop("step")
        for name, value in scalars.items():
            by_name.setdefault(name, {})[step] = value
    curves = {}
    for name, values in by_name.items():
        steps = sorted(values)
        curves[name] = (np.array(steps), np.array([values[step] for step in steps], np.float64))
    return curves
