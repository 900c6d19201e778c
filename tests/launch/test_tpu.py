"""The launcher against a stand-in for gcloud, whose workers are local processes."""

import contextlib
import functools
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import threading
import time

import pytest

from launch import tpu
from tests.conftest import REPO

# Minutes of real processes.
pytestmark = pytest.mark.slow

STAND_IN = REPO / "tests" / "launch" / "stand_in_gcloud.py"
README = (REPO / "launch" / "README.md").read_text()
WHERE = ["--project=my-project", "--zone=us-central2-b", "--quiet"]
CREATE = ["compute", "tpus", "tpu-vm", "create", "ns-jax", "--version=tpu-ubuntu2204-base", "--accelerator-type=v4-32",
          "--spot", *WHERE]  # fmt: skip
DESCRIBE = ["compute", "tpus", "tpu-vm", "describe", "ns-jax", "--format=value(state)", *WHERE]
DELETE = ["compute", "tpus", "tpu-vm", "delete", "ns-jax", *WHERE]

# In place of the workers' Python: does what the name of the config says.
WORK = """#!/bin/bash
for flag; do case $flag in --config=*) config=${flag#*=};; --workdir=*) workdir=${flag#*=};; esac; done
echo "flags: $*"
mkdir -p "$workdir"
case $config in
  wait) echo started >> "$workdir/starts"; while [ ! -e "$workdir/go" ]; do sleep 0.05; done; echo went on;;
  deaf) trap '' TERM; touch "$workdir/deaf-$SLURM_PROCID"; while true; do sleep 0.1; done;;
  fail) echo "it went wrong"; exit 7;;
esac
"""


class Cloud:
    """A stand-in cloud in a folder, and a settings file for it."""

    def __init__(self, folder: pathlib.Path, python: str, repository: pathlib.Path, **settings):
        self.folder = folder / "cloud"
        self.bucket = folder / "bucket"
        for made in (self.folder, self.bucket, folder / "bin"):
            made.mkdir()
        gcloud = folder / "bin" / "gcloud"
        gcloud.write_text(f'#!/bin/bash\nexec "{sys.executable}" -S -E "{STAND_IN}" "$@"\n')
        gcloud.chmod(0o755)
        self.environment = {"PATH": f"{gcloud.parent}:{os.environ['PATH']}", "STAND_IN": str(self.folder)}
        self.settings = folder / "settings.toml"
        values = {"name": "ns-jax", "project": "my-project", "zone": "us-central2-b", "accelerator_type": "v4-32",
                  "runtime_version": "tpu-ubuntu2204-base", "bucket": str(self.bucket), "repository": str(repository),
                  "python": python, "spot": True, "poll_seconds": 0.2} | settings  # fmt: skip
        self.settings.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))

    def launch(self, command: str, *flags: str) -> list[str]:
        return [sys.executable, "-m", "launch.tpu", command, f"--settings={self.settings}", *flags]

    def preempt(self) -> None:
        subprocess.run(["gcloud", "preempt", "ns-jax"], env=os.environ | self.environment, check=True)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    def steps(self) -> list:
        """The calls in order without the polls: what was run on the workers in a word, the others as they were."""
        words = {"git clone": "setup", "setsid": "start", "kill -TERM": "stop", "tail -n 20": "last lines"}
        found = []
        for call in self.calls():
            if call[3] == "ssh":
                assert call[4] == "ns-jax" and call[-3:] == WHERE
                word = next((word for mark, word in words.items() if mark in call[6]), None)
                if word:
                    assert call[5] == "--worker=all"
                    found.append(word)
            elif call[3] != "describe":
                found.append(call)
        return found


def git(*arguments, cwd=REPO) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


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
    monkeypatch.setattr(tpu, "STOP_SECONDS", 1)
    yield made
    with contextlib.suppress(tpu.LaunchError):
        tpu.main(["delete", f"--settings={made.settings}"])  # and with it the workers' processes


def launch(cloud: Cloud, command: str, *flags: str) -> None:
    tpu.main([command, f"--settings={cloud.settings}", *flags])


def until(happened, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


class InBackground:
    """A launcher command in a thread; `error` is its LaunchError."""

    def __init__(self, cloud: Cloud, command: str, *flags: str):
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(cloud, command, *flags), daemon=True)
        self.thread.start()

    def _run(self, *arguments):
        try:
            launch(*arguments)
        except tpu.LaunchError as error:
            self.error = error

    def end(self) -> str | None:
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.error and str(self.error)


def test_two_processes_preempted_once_end_with_the_report(tmp_path):
    """The whole of it: ns_jax on two workers, which vanish in the middle."""
    repository = tmp_path / "repository.git"
    git("clone", "--quiet", "--bare", ".", str(repository))
    cloud = Cloud(tmp_path, sys.executable, repository, poll_seconds=1.0)
    commit, environment = git("rev-parse", "HEAD"), os.environ | cloud.environment
    command = cloud.launch("run", "--config=configs/mnist5k.py:smoke", f"--commit={commit}")
    workdir = cloud.bucket / "mnist5k-smoke"
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=REPO, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: (workdir / "iteration_0" / "checkpoints" / "3").exists() or process.poll() is not None, 400)
        (cloud.folder / "refusals").write_text("1")
        cloud.preempt()
        code = process.wait(900)
        output = log.read_text()
        assert code == 0, output
        assert "ns-jax is PREEMPTED: it is deleted and created anew" in output
        assert "no new TPU yet, trying on" in output and "no more capacity" in output
        assert re.search(r"resuming at step [369]\n", output)
        assert "| iteration_1 |" in output and f"report: {workdir}/report" in output
        assert (workdir / "report" / "results.md").stat().st_size
    finally:
        process.kill()
        subprocess.run(cloud.launch("delete"), cwd=REPO, env=environment, check=True)
    assert cloud.steps() == [CREATE, "setup", "start", DELETE, CREATE, CREATE, "stop", "setup", "start", DELETE]
    assert cloud.calls()[:3] == [DESCRIBE, CREATE, DESCRIBE]


def test_a_chain_runs_in_order_and_stops_at_a_failure(cloud, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("""flags = ["--both={bucket}/x"]
[[runs]]
config = "configs/first.py:form"
[[runs]]
config = "fail"
flags = ["--only this"]
[[runs]]
config = "never"
""")
    with pytest.raises(tpu.LaunchError, match="fail failed; its log is ~/ns_jax_run/fail.log on each worker"):
        launch(cloud, "chain", f"--recipe={recipe}")
    assert cloud.steps() == [CREATE, "setup", "start", "setup", "start", "stop", "last lines"]
    assert sorted(path.name for path in cloud.bucket.iterdir()) == ["fail", "first-form"]
    output = capsys.readouterr().out
    assert (f"flags: -m ns_jax.main --config=fail --workdir={cloud.bucket}/fail --distributed --both={cloud.bucket}/x "
            "--only this") in output  # fmt: skip
    assert output.count("it went wrong") == 3  # as it came, and the last lines of both


def test_workers_that_are_ended_from_outside_start_again(cloud):
    """As after a reboot: the TPU stays, the processes do not."""
    background, starts = InBackground(cloud, "run", "--config=wait"), cloud.bucket / "wait" / "starts"
    until(lambda: starts.exists() and len(starts.read_text().split()) == 2)
    (pid,) = cloud.folder.glob("ns-jax/*/worker-1/ns_jax_run/pid")
    os.killpg(int(pid.read_text()), 9)
    until(lambda: len(starts.read_text().split()) == 4)
    (cloud.bucket / "wait" / "go").touch()
    assert background.end() is None
    assert cloud.steps() == [CREATE, "setup", "start", "stop", "setup", "start"]


def test_workers_that_a_repair_spared_are_ended_before_the_next_start(cloud):
    """One worker is taken away and comes back, its TPU was not ready meanwhile, the other worker waits for it."""
    background, starts = InBackground(cloud, "run", "--config=wait"), cloud.bucket / "wait" / "starts"
    until(lambda: starts.exists() and len(starts.read_text().split()) == 2)
    file = cloud.folder / "ns-jax.json"
    ready = file.read_text()
    file.write_text(ready.replace("READY", "REPAIRING"))
    (pid,) = cloud.folder.glob("ns-jax/*/worker-1/ns_jax_run/pid")
    os.killpg(int(pid.read_text()), 9)
    time.sleep(1)
    file.write_text(ready)
    until(lambda: len(starts.read_text().split()) == 4)
    (cloud.bucket / "wait" / "go").touch()
    assert background.end() is None
    assert cloud.steps() == [CREATE, "setup", "start", "stop", "setup", "start"]


def test_a_start_after_a_preemption_is_tried_again(cloud, capsys):
    (cloud.folder / "offline-ssh").write_text("1")
    with pytest.raises(tpu.LaunchError, match="problem refreshing"):  # the first one: settings may be wrong
        launch(cloud, "run", "--config=wait")
    background, starts = InBackground(cloud, "run", "--config=wait"), cloud.bucket / "wait" / "starts"
    until(lambda: starts.exists() and len(starts.read_text().split()) == 2)
    cloud.preempt()
    (cloud.folder / "offline-ssh").write_text("2")
    until(lambda: len(starts.read_text().split()) == 4)
    (cloud.bucket / "wait" / "go").touch()
    assert background.end() is None
    assert "wait could not be started, trying on: ERROR: (gcloud) There was a problem" in capsys.readouterr().out


def test_a_start_is_not_tried_for_ever(cloud, monkeypatch):
    offline = cloud.folder / "offline-ssh"

    def follow(*_):
        offline.write_text("100")
        return "interrupted"

    monkeypatch.setattr(tpu, "follow", follow)
    with pytest.raises(tpu.LaunchError, match="problem refreshing"):
        launch(cloud, "run", "--config=other")
    assert int(offline.read_text()) == 100 - tpu.RESTARTS


def test_a_lost_launcher_finds_its_run_again(cloud, capsys):
    launch(cloud, "create")
    launch(cloud, "setup")
    one = tpu.Tpu(tpu.read_toml(str(cloud.settings), tpu.Settings))
    job, starts = tpu.Job("wait"), cloud.bucket / "wait" / "starts"
    tpu.start(one, job)
    until(lambda: starts.exists() and len(starts.read_text().split()) == 2)
    with pytest.raises(tpu.LaunchError, match="wait goes on there: stop it first"):
        tpu.start(one, tpu.Job("other"))
    git("commit", "--quiet", "--allow-empty", "-m", "second", cwd=pathlib.Path.cwd())
    with pytest.raises(tpu.LaunchError, match="a run of another commit goes on: stop it first"):
        launch(cloud, "setup")
    following = InBackground(cloud, "run", "--config=wait", "--commit=HEAD~")
    time.sleep(1)
    (cloud.bucket / "wait" / "go").touch()
    assert following.end() is None
    assert starts.read_text().split() == ["started"] * 2 and "went on" in capsys.readouterr().out


def test_a_lost_launcher_finds_the_chain_where_it_is(cloud, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("".join(f"[[runs]]\nconfig = '{config}'\n" for config in ("first", "wait", "last")))
    launch(cloud, "create")
    launch(cloud, "setup")
    one = tpu.Tpu(tpu.read_toml(str(cloud.settings), tpu.Settings))
    assert tpu.going_on(one) == ""
    tpu.start(one, tpu.Job("wait"))
    until(lambda: (cloud.bucket / "wait" / "starts").exists())
    assert tpu.going_on(one) == "wait"
    following = InBackground(cloud, "chain", f"--recipe={recipe}")
    time.sleep(1)
    (cloud.bucket / "wait" / "go").touch()
    assert following.end() is None
    assert sorted(path.name for path in cloud.bucket.iterdir()) == ["last", "wait"]
    assert (cloud.bucket / "wait" / "starts").read_text().split() == ["started"] * 2


def test_stop_ends_a_run_that_does_not_hear_sigterm(cloud):
    background = InBackground(cloud, "run", "--config=deaf")
    until(lambda: len(list(cloud.bucket.glob("deaf/deaf-*"))) == 2)
    launch(cloud, "stop")
    assert background.end() == "deaf was stopped"
    with pytest.raises(tpu.LaunchError, match="deaf does not go on: stopped"):
        launch(cloud, "follow", "--config=deaf")
    launch(cloud, "run", "--config=other")  # nothing is left of it


def test_following_what_does_not_go_on_ends(cloud):
    with pytest.raises(tpu.LaunchError, match="never does not go on: interrupted"):  # no TPU
        launch(cloud, "follow", "--config=never")
    launch(cloud, "create")
    with pytest.raises(tpu.LaunchError, match="never does not go on: interrupted"):  # a TPU where it was not started
        launch(cloud, "follow", "--config=never")
    for home in cloud.folder.glob("ns-jax/*/worker-*"):
        (home / "ns_jax_run" / "never.exit").touch()  # all that a full disk leaves
    with pytest.raises(tpu.LaunchError, match="never does not go on: failed"):
        launch(cloud, "follow", "--config=never")


def test_a_queued_resource_is_waited_for_and_created_again(cloud, capsys):
    text = cloud.settings.read_text() + 'queued = true\nprepare = "echo $HOME >> $STAND_IN/prepared"\n'
    text += 'create_flags = ["--network=mine"]\nssh_flags = ["--internal-ip"]\n'
    cloud.settings.write_text(text)
    background, starts = InBackground(cloud, "run", "--config=wait"), cloud.bucket / "wait" / "starts"
    until(lambda: starts.exists() and len(starts.read_text().split()) == 2)
    (cloud.folder / "offline-delete").write_text("2")
    cloud.preempt()
    until(lambda: len(starts.read_text().split()) == 4)
    (cloud.bucket / "wait" / "go").touch()
    assert background.end() is None
    output = capsys.readouterr().out
    assert output.count("ns-jax is WAITING_FOR_RESOURCES") == 2 and "ns-jax is SUSPENDED" in output
    assert "no new TPU yet, trying on: ERROR: (gcloud) There was a problem" in output
    assert len(set((cloud.folder / "prepared").read_text().split())) == 4  # two workers, and two after them
    launch(cloud, "delete")
    create = ["compute", "tpus", "queued-resources", "create", "ns-jax", "--node-id=ns-jax",
              "--runtime-version=tpu-ubuntu2204-base", "--accelerator-type=v4-32", "--spot", "--network=mine",
              *WHERE]  # fmt: skip
    delete = ["compute", "tpus", "queued-resources", "delete", "ns-jax", "--force", *WHERE]
    calls = [call for call in cloud.calls() if call[3] in ("create", "delete")]
    assert calls == [create, delete, delete, delete, create, delete]  # two did not come through
    assert all("--internal-ip" in call for call in cloud.calls() if call[3] == "ssh")


def test_a_queued_resource_without_its_node_is_created_anew(cloud):
    cloud.settings.write_text(cloud.settings.read_text() + "queued = true\n")
    launch(cloud, "create")
    subprocess.run(["gcloud", *DELETE], check=True)
    launch(cloud, "run", "--config=other")
    verbs = [call[2:4] for call in cloud.calls() if call[3] in ("create", "delete")]
    create, delete = ["queued-resources", "create"], ["queued-resources", "delete"]
    assert verbs == [create, ["tpu-vm", "delete"], delete, create]


def test_waiting_in_the_queue_outlives_the_network(cloud, capsys, monkeypatch):
    cloud.settings.write_text(cloud.settings.read_text() + "queued = true\n")
    offline = cloud.folder / "offline-describe"
    offline.write_text("1")
    with pytest.raises(tpu.LaunchError, match="problem refreshing"):  # the first look is not patient
        launch(cloud, "run", "--config=other")
    one = tpu.Tpu(tpu.read_toml(str(cloud.settings), tpu.Settings))
    offline.write_text("2")
    tpu.create(one)
    assert capsys.readouterr().out.count("no answer from gcloud") == 2
    tpu.delete(one)
    subprocess.run(["gcloud", "compute", "tpus", "queued-resources", "create", "ns-jax", "--node-id=ns-jax",
                    "--runtime-version=a", "--accelerator-type=b", *WHERE], check=True)  # fmt: skip
    failures = iter(["1"])  # after the first look
    monkeypatch.setattr(one, "wait", lambda: offline.write_text(next(failures, "0")))
    assert tpu.lasting_state(one) == "READY"
    output = capsys.readouterr().out
    assert output.index("is WAITING_FOR_RESOURCES") < output.index("no answer from gcloud")


def test_a_dry_run_prints_every_command_and_runs_none(cloud, capsys):
    launch(cloud, "run", "--config=configs/b0_teacher.py", "--dry_run", "--", "--config.seed=1")
    text = capsys.readouterr().out
    verbs = re.findall(r"^gcloud compute tpus tpu-vm (\w+) ns-jax ", text, re.MULTILINE)
    assert verbs == ["describe", "create", "describe", *["ssh"] * 4]  # set up, start, status, log
    assert f"--config=configs/b0_teacher.py --workdir={cloud.bucket}/b0_teacher --distributed --config.seed=1" in text
    assert f"git checkout --quiet --force --detach {git('rev-parse', 'HEAD', cwd=pathlib.Path.cwd())}" in text
    for command in ("create", "setup", "stop", "delete"):
        launch(cloud, command, "--dry_run")
        assert "gcloud compute tpus" in capsys.readouterr().out
    assert not (cloud.folder / "calls.jsonl").exists()


def test_without_a_python_the_workers_get_an_environment():
    settings = tpu.read_toml(str(REPO / "launch" / "settings.example.toml"), tpu.Settings)
    script = tpu.setup_script(settings, "0" * 40)
    assert "uv pip install" in script and "[tpu,demo]" in script
    assert tpu.Job("a/b.py:c").command(settings).startswith(".venv/bin/python -m ns_jax.main --config=a/b.py:c ")
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_another_commit_gets_an_environment_of_its_own(cloud):
    """What uv finds installed it keeps, whatever the date of the commit."""
    cloud.settings.write_text(re.sub("python = .*", 'python = ""', cloud.settings.read_text()))
    uv = cloud.folder.parent / "bin" / "uv"
    uv.write_text('#!/bin/bash\n[ $1 = venv ] || exit 0\nmkdir .venv && echo made >> $STAND_IN/environments\n')
    uv.chmod(0o755)
    made = cloud.folder / "environments"
    launch(cloud, "create")
    for count in (2, 2):
        launch(cloud, "setup")
        assert len(made.read_text().split()) == count
    git("commit", "--quiet", "--allow-empty", "-m", "second", cwd=pathlib.Path.cwd())
    launch(cloud, "setup")
    assert len(made.read_text().split()) == 4


@pytest.mark.parametrize(("old", "new", "error"), [
    ("zone =", "zon =", r"settings.toml: unknown key 'zon'; the nearest one is 'zone'"),
    ("bucket =", "# bucket =", r"settings.toml: missing key 'bucket'"),
    ("spot = true", 'spot = "yes"', r"settings.toml: spot = 'yes' must be true or false"),
    ("spot =", "create_flags = [1]\nspot =", r"settings.toml: create_flags = [1] must be a list of strings"),
    ("bucket = \"", "bucket = \"my-", r"must begin with gs://, or with / where every worker mounts it"),
    ("poll_seconds = 0.2", "poll_seconds = 0", r"settings.toml: poll_seconds = 0 must be above 0"),
    ("name =", "name", r"settings.toml: Expected '='"),
])  # fmt: skip
def test_a_wrong_settings_file_is_one_line(cloud, old, new, error):
    cloud.settings.write_text(cloud.settings.read_text().replace(old, new, 1))
    process = subprocess.run(cloud.launch("create"), cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 2 and error in process.stderr
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1


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
        with pytest.raises(tpu.LaunchError, match=error):
            launch(cloud, "chain", f"--recipe={recipe}")


def test_a_commit_that_the_repository_does_not_have(cloud, tmp_path, monkeypatch):
    commit, repository = "1" * 40, cloud.settings.parent / "repository"
    with pytest.raises(tpu.LaunchError, match=f"^{repository} has no commit {commit}: push it$"):
        launch(cloud, "run", "--config=other", f"--commit={commit}")
    for wanted in ("mian", "1" * 7):  # before a TPU is created
        with pytest.raises(tpu.LaunchError, match=f"there is no commit '{wanted}' here"):
            launch(cloud, "run", "--config=other", f"--commit={wanted}")
    assert len(cloud.steps()) == 2  # of the first
    (pathlib.Path.cwd() / "file").write_text("changed\n")
    with pytest.raises(tpu.LaunchError, match="changes are not committed"):
        launch(cloud, "run", "--config=other")
    launch(cloud, "setup", "--commit=HEAD")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tpu.LaunchError, match="not a git clone"):
        launch(cloud, "setup")


@pytest.mark.parametrize("queued", [False, True])
def test_the_stand_in_refuses_what_gcloud_refuses(cloud, queued):
    with cloud.settings.open("a") as file:
        file.write(f"queued = {json.dumps(queued)}\ncreate_flags = ['--spto']\n")
    with pytest.raises(tpu.LaunchError, match="unrecognized arguments: --spto"):
        launch(cloud, "create")


def test_gclouds_own_message_when_it_cannot_create(cloud):
    (cloud.folder / "refusals").write_text("1")
    with pytest.raises(tpu.LaunchError, match="RESOURCE_EXHAUSTED: There is no more capacity"):
        launch(cloud, "run", "--config=other")
    assert cloud.steps() == [CREATE]


def readme_commands(start: str) -> list[str]:
    return [line for line in README.splitlines() if line.startswith(start)]


def test_the_readmes_commands(capsys, monkeypatch):
    monkeypatch.chdir(REPO)
    commands = readme_commands("python -m launch.tpu ")
    every = {"create", "setup", "run", "chain", "follow", "stop", "delete"}
    assert {shlex.split(command)[3] for command in commands} == every
    for command in commands:
        arguments = shlex.split(command.replace("launch/settings.toml", "launch/settings.example.toml"))[3:]
        own = arguments.index("--") if "--" in arguments else len(arguments)
        arguments[own:own] = ["--dry_run", *(["--commit=HEAD"] if arguments[0] in ("run", "chain", "setup") else [])]
        tpu.main(arguments)
        assert "gcloud compute tpus" in capsys.readouterr().out, command


def test_the_recipes_flags_are_fields_of_its_configs():
    for job in tpu.read_jobs(str(REPO / "launch" / "l2.toml")):
        config = importlib.import_module(job.config.removesuffix(".py").replace("/", ".")).get_config()
        for flag in job.flags:
            name, value = flag.removeprefix("--config.").split("=")
            default = functools.reduce(getattr, name.split("."), config)
            if name == "teacher":
                assert value == f"{{bucket}}/{default}"


def test_the_readmes_settings_are_the_example(tmp_path):
    """Its example holds the keys of the file that it says to copy."""
    block = README.split("```toml\n")[1].split("```")[0]
    (tmp_path / "settings.toml").write_text(block)
    read = tpu.read_toml(str(tmp_path / "settings.toml"), tpu.Settings)
    assert read == tpu.read_toml(str(REPO / "launch" / "settings.example.toml"), tpu.Settings)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder first on PATH for stand-ins, each of which prints its arguments."""
    def add(name: str, more: str = "") -> str:
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho "{name} $*"\n{more}\n')
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return add


def test_slurm(programs, monkeypatch):
    """sbatch runs the script, here bash; srun the command after it."""
    programs("srun", 'while [[ $1 = --* ]]; do shift; done; exec "$@"')
    programs("scontrol")
    monkeypatch.setenv("PYTHON", programs("python"))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    (command,) = readme_commands("sbatch ")
    arguments = shlex.split(command)[1:]
    process = subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    config, workdir, flag = arguments[1:]
    ran = f"python -m ns_jax.main --config={config} --workdir={workdir} --distributed {flag}"
    assert process.stdout.splitlines()[1] == ran
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    process = subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)
    assert process.stdout.startswith("srun --kill-on-bad-exit=1 --cpus-per-task=8 ")
    assert process.stdout.splitlines()[1] == ran
    programs("python", "kill -USR1 $(ps -o ppid= $$); sleep 1")
    process = subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)
    assert "scontrol requeue 5" in process.stdout
    programs("python", "exit 7")
    assert subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True).returncode == 7
    assert subprocess.run(["bash", "launch/slurm.sh", "config"], cwd=REPO, capture_output=True).returncode == 2


def test_gpu_installs_what_is_missing(programs, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    inner = programs("inner", "case $2 in from*) [ -e installed ];; pip) [ ! -e offline ] && touch installed;; esac")
    programs("python3", f"mkdir -p .venv/bin; cp {inner} .venv/bin/python")

    def start() -> subprocess.CompletedProcess:
        return subprocess.run([REPO / "launch" / "gpu.sh", "a.py", "b"], capture_output=True, text=True)

    (tmp_path / "offline").touch()
    assert start().returncode
    (tmp_path / "offline").unlink()
    process = start()
    assert process.returncode == 0 and "-m pip install" in process.stdout
    assert process.stdout.splitlines()[-1].endswith("-m ns_jax.main --config=a.py --workdir=b")
    assert "pip" not in start().stdout


def test_gpu(programs, monkeypatch):
    monkeypatch.setenv("PYTHON", programs("python"))
    (command,) = readme_commands("launch/gpu.sh ")
    process = subprocess.run(shlex.split(command), cwd=REPO, capture_output=True, text=True)
    arguments = shlex.split(command)[1:]
    assert process.stdout == f"python -m ns_jax.main --config={arguments[0]} --workdir={arguments[1]} {arguments[2]}\n"
    assert subprocess.run(["launch/gpu.sh", "config"], cwd=REPO, capture_output=True).returncode == 2
