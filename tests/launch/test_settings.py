"""What the launcher reads, and what it would do: no worker is started here."""

import functools
import importlib
import pathlib
import re
import shlex
import subprocess

import pytest

from launch.errors import LaunchError
from launch.jobs import Job, read_jobs
from launch.toml_files import read_toml
from launch.tpu import scripts
from launch.tpu.__main__ import main
from launch.tpu.settings import Settings
from tests.conftest import REPO
from tests.launch.cloud import README, git, launch, readme_commands


def test_a_dry_run_prints_every_command_and_runs_none(cloud, capsys):
    launch(cloud, "run", "--config=configs/b0_teacher.py", "--dry_run", "--", "--config.seed=1")
    text = capsys.readouterr().out
    verbs = re.findall(r"^gcloud compute tpus tpu-vm (\w+) ns-jax ", text, re.MULTILINE)
    # For the number of workers, too; then set up, mark the first worker, start, ask for the name of the start.
    assert verbs == ["describe", "create", "describe", "describe", *["ssh"] * 4]
    assert f"--config=configs/b0_teacher.py --workdir={cloud.bucket}/b0_teacher --distributed --config.seed=1" in text
    assert f"git checkout --quiet --force --detach {git('rev-parse', 'HEAD', cwd=pathlib.Path.cwd())}" in text
    for command in ("create", "setup", "stop", "delete"):
        launch(cloud, command, "--dry_run")
        assert "gcloud compute tpus" in capsys.readouterr().out
    assert not (cloud.folder / "calls.jsonl").exists()


def test_without_a_python_the_workers_get_an_environment():
    settings = read_toml(str(REPO / "launch" / "settings.example.toml"), Settings)
    script = scripts.setup(settings, "0" * 40)
    assert "uv pip install" in script and "[tpu,gcs,demo]" in script
    run = scripts.command(settings, Job("a/b.py:c"))
    assert run.startswith(".venv/bin/python -m ns_jax.main --config=a/b.py:c ")
    subprocess.run(["bash", "-n", "-c", script], check=True)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("zone =", "zon =", r"settings.toml: unknown key 'zon'; the nearest one is 'zone'"),
        ("bucket =", "# bucket =", r"settings.toml: missing key 'bucket'"),
        ("spot = true", 'spot = "yes"', r"settings.toml: spot = 'yes' must be true or false"),
        ("spot =", "create_flags = [1]\nspot =", r"settings.toml: create_flags = [1] must be a list of strings"),
        ('bucket = "', 'bucket = "my-', r"must begin with gs://, or with / where every worker mounts it"),
        ("poll_seconds = 0.2", "poll_seconds = 0", r"settings.toml: poll_seconds = 0 must be above 0"),
        ("name =", "name", r"settings.toml: Expected '='"),
        ('name = "ns-jax"', 'name = " "', "settings.toml: name is empty"),
        ('"us-central2-b"', '""', "settings.toml: zone is empty"),
        ('"us-central2-b"', '"us-central2"', "settings.toml: zone = 'us-central2' is no zone, such as us-central2-b"),
        ("v4-32", "v4-31", "accelerator_type 'v4-31': v4 has no such slice; near are v4-8, v4-16, v4-32, v4-64"),
        ("repository =", "image =", "settings.toml: python is of workers without an image: leave it out, or the image"),
        ("spot =", 'image = "me/ns_jax"\nspot =', "name either an image, or a repository that the workers clone"),
        ("repository =", 'image = ""\nprepare =', "name either an image, or a repository that the workers clone"),
        ("spot =", "slices = 2\nspot =", "slices = 2 need queued = true: only queued resources have several"),
        ("spot =", "batch_size = 0\nspot =", "settings.toml: batch_size = 0 must be above 0"),
        ("spot =", "stall_minutes = -1\nspot =", "settings.toml: stall_minutes = -1 must be above 0"),
        ("spot =", "failures = 1.5\nspot =", "settings.toml: failures = 1.5 must be a whole number"),
    ],
)
def test_a_wrong_settings_file_is_one_line(cloud, old, new, error):
    text = cloud.settings.read_text()
    assert old in text
    cloud.settings.write_text(text.replace(old, new, 1))
    with pytest.raises(LaunchError) as caught:
        launch(cloud, "create")
    assert error in str(caught.value) and "\n" not in str(caught.value)


def test_an_error_is_one_line_of_the_command(cloud):
    cloud.write_settings(zone="")
    process = subprocess.run(cloud.launch("create"), cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr == f"error: {cloud.settings}: zone is empty\n"


def test_a_wrong_recipe_is_one_line(cloud, tmp_path):
    recipe = tmp_path / "recipe.toml"
    for text, error in (
        ("[[run]]\nconfig = 'a'", "unknown key 'run'; the nearest one is 'runs'"),
        ("[[runs]]\nconfi = 'a'", "run 1: unknown key 'confi'; the nearest one is 'config'"),
        ("runs = [1]", r"runs = \[1\] must be a list of tables"),
        ("runs = []", r"no \[\[runs\]\]"),
        ("[[runs]]\nconfig = 'a'\nname = 'a b'", "run 1: name 'a b': letters, digits"),
        ("[[runs]]\nconfig = 'a'\nname = '..'", r"run 1: name '\.\.': letters, digits"),
        ("[[runs]]\nconfig = 'a'\nflags = '--b=1'", "run 1: flags = '--b=1' must be a list of strings"),
        ("flags = [1]\n[[runs]]\nconfig = 'a'", r"flags = \[1\] must be a list of strings"),
        ("[[runs]]\nconfig = 'a'\n[[runs]]\nconfig = 'b/a.py'", "two runs have the name 'a'"),
    ):
        recipe.write_text(text)
        with pytest.raises(LaunchError, match=error):
            launch(cloud, "chain", f"--recipe={recipe}")


def test_the_readmes_commands(capsys, monkeypatch):
    monkeypatch.chdir(REPO)
    commands = readme_commands("python -m launch.tpu ")
    every = {"create", "setup", "run", "chain", "follow", "stop", "delete"}
    assert {shlex.split(command)[3] for command in commands} == every
    for command in commands:
        arguments = shlex.split(command.replace("launch/settings.toml", "launch/settings.example.toml"))[3:]
        own = arguments.index("--") if "--" in arguments else len(arguments)
        arguments[own:own] = ["--dry_run", *(["--commit=HEAD"] if arguments[0] in ("run", "chain", "setup") else [])]
        main(arguments)
        assert "gcloud compute tpus" in capsys.readouterr().out, command


def test_the_recipes_flags_are_fields_of_its_configs():
    for job in read_jobs(str(REPO / "launch" / "l2.toml")):
        config = importlib.import_module(job.config.removesuffix(".py").replace("/", ".")).get_config()
        for flag in job.flags:
            name, value = flag.removeprefix("--config.").split("=")
            default = functools.reduce(getattr, name.split("."), config)
            if name in ("teacher", "selection_from"):
                assert value == f"{{bucket}}/{default}"


def test_the_readmes_settings_are_the_example(tmp_path):
    """Its example holds the keys of the file that it says to copy."""
    block = README.split("```toml\n")[1].split("```")[0]
    (tmp_path / "settings.toml").write_text(block)
    read = read_toml(str(tmp_path / "settings.toml"), Settings)
    assert read == read_toml(str(REPO / "launch" / "settings.example.toml"), Settings)
