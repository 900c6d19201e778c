"""What was measured, kept as JSON in the repository: FOLDER/seed-N.json, {"KEY/SOURCE": record}.

A record says of which model it is (its key, see models.py), of which source code, and on which machine.
"""

import ast
import fcntl
import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

REPO = Path(__file__).parents[2]
# The code that decides what a model becomes.
DECIDING = (
    "data", "evaluators/metrics.py", "experiment/chain.py", "inference", "models", "pseudo_labels", "run", "stages",
    "training",
)  # fmt: skip


def source_hash(repo: Path = REPO) -> str:
    """SHA-256 of the code in DECIDING, 16 digits; comments, docstrings and the form do not count."""
    digest = hashlib.sha256()
    for part in DECIDING:
        place = repo / "ns_jax" / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(repo).as_posix().encode())
            digest.update(ast.dump(_without_docstrings(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()[:16]


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            body.pop(0)
    return tree


def commit(repo: Path = REPO) -> str:
    """Short name of the checked out commit, with '+' where files have changed since; '' outside a clone."""
    command = ["git", "-C", str(repo), "describe", "--always", "--dirty=+", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def processor() -> str:
    """Name of the processor, where Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def keep(folder: Path, seed: int, record: Mapping[str, object]) -> None:
    """Adds a record, in place of an earlier one of the same model and source; several processes may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{seed}.json"
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = json.loads(path.read_text()) if path.exists() else {}
        records[f"{record['key']}/{record['source']}"] = dict(record)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
        new.replace(path)


def read(folder: Path) -> list[dict]:
    """All records that are kept."""
    return [record for path in sorted(folder.glob("seed-*.json")) for record in json.loads(path.read_text()).values()]
