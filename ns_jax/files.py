"""Files that are complete or absent: written under a temporary name and renamed."""

import json
from typing import Any

from etils import epath


def write_bytes(path: epath.Path, data: bytes) -> None:
    """Writes `data` to `path` in one step; a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_json(path: epath.Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, in one step."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: epath.Path) -> Any:
    return json.loads(path.read_text())
