"""How to make it again: the config, the versions, the commands."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

from ns_jax.experiment.fields import FIELDS, Unset, value_of
from ns_jax.experiment.saved import read_saved
from ns_jax.report.page.markup import Markup, details, element, join, paragraph, table
from ns_jax.report.page.run_data import PageRun
from ns_jax.version import VERSION

LIBRARIES = ("jax", "flax", "optax", "numpy", "tensorflow-cpu", "tensorflow", "scikit-learn")


def section(run: PageRun) -> Markup:
    """Commands, versions, and the config as what differs from the defaults."""
    return join(
        [
            paragraph("RUN is the folder of this run, which this page lies in."),
            element("pre", element("code", "\n".join(commands(run)))),
            table(["what", "version"], versions(), "Versions with which this page was made", text_columns=2),
            details("Config: what differs from the defaults", config_table(run)),
        ]
    )


def commands(run: PageRun) -> list[str]:
    """Commands that repeat the run, ask its model and convert it."""
    name = run.chosen.name if run.chosen else run.iterations[-1].name
    model = run.choice.get("model") or read_saved(run.workdir / "config.json")["results"][name]
    return [
        "# once more, from the beginning",
        "python -m ns_jax.main --config=RUN/config.json --workdir=ANOTHER_FOLDER",
        "# the chosen model's answers for images of a folder",
        f"python -m ns_jax.predict --model=RUN/{model} FOLDER --csv=answers.csv",
        "# the chosen model for other libraries",
        f"python -m ns_jax.convert --from=RUN/{model} --to=model.safetensors",
    ]


def versions() -> list[list[str]]:
    """Of this project, of Python and of the libraries that results depend on."""
    rows = [["ns_jax", " ".join(filter(None, [VERSION, git_commit()]))], ["Python", platform.python_version()]]
    for name in LIBRARIES:
        try:
            rows.append([name, importlib.metadata.version(name)])
        except importlib.metadata.PackageNotFoundError:
            continue
    return [*rows, ["platform", f"{platform.system()} {platform.machine()}"]]


def git_commit() -> str:
    """'(commit 0123456789)' of the clone that this package lies in, '' where it lies in none."""
    package = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "version.py")
        changed = ", with changes" if git("status", "--porcelain", "--untracked-files=no", ".") else ""
        return f"(commit {git('rev-parse', '--short=10', 'HEAD')}{changed})"
    except (OSError, subprocess.SubprocessError):
        return ""


def config_table(run: PageRun) -> Markup:
    """Fields that differ from their defaults, then what iterations override, and evaluations."""
    rows = []
    for field in FIELDS.values():
        value = value_of(run.config, field.name)
        default = None if isinstance(field.default, Unset) else field.default
        if value != default and field.name != "only_stages":
            rows.append([field.name, show(value), show(default)])
    for part in ("chain", "evaluations"):
        for name, entry in run.config[part].to_dict().items():
            rows.append([f"{part}.{name}", show(entry), ""])
    return table(["field", "value", "default"], rows, "Fields of the config", text_columns=3)


def show(value: object) -> str:
    """A value as JSON, which is short."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)
