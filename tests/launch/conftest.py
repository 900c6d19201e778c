import contextlib

import pytest

from launch.errors import LaunchError
from launch.tpu import scripts
from launch.tpu.__main__ import main
from tests.launch.cloud import WORK, Cloud, git


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """Workers that run WORK in a clone of a small repository; the current folder is that repository."""
    repository = tmp_path / "repository"
    repository.mkdir()
    git("init", "--quiet", cwd=repository)
    (repository / "file").write_text("committed\n")
    git("add", ".", cwd=repository)
    git("commit", "--quiet", "-m", "first", cwd=repository)
    python = tmp_path / "python"
    python.write_text(WORK)
    python.chmod(0o755)
    made = Cloud(tmp_path, str(python), repository)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(repository)
    monkeypatch.setattr(scripts, "STOP_SECONDS", 1)
    monkeypatch.setattr(scripts, "LOG_SECONDS", 0.5)
    yield made
    with contextlib.suppress(LaunchError):
        main(["delete", f"--settings={made.settings}"])  # and with it the workers' processes
