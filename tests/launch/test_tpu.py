"""The launcher against a stand-in for gcloud, whose workers are local processes."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from launch.errors import LaunchError
from launch.jobs import Job
from launch.toml_files import read_toml
from launch.tpu import machine, run
from launch.tpu.gcloud import Tpu
from launch.tpu.settings import Settings
from tests.conftest import REPO
from tests.launch.cloud import CREATE, DELETE, DESCRIBE, WHERE, Cloud, InBackground, git, launch, until

# Minutes of real processes.
pytestmark = pytest.mark.slow


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
    calls = [call for call in cloud.calls() if call[0] == "compute"]
    assert calls[:3] == [DESCRIBE, CREATE, DESCRIBE]


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
    message = "fail failed 3 times without progress; its log is ~/ns_jax_run/fail.log on each worker"
    with pytest.raises(LaunchError, match=message):
        launch(cloud, "chain", f"--recipe={recipe}")
    assert cloud.steps() == [CREATE, "setup", "start", *["setup", "start", "stop"] * 3]
    assert sorted(path.name for path in cloud.bucket.iterdir()) == ["fail", "first-form"]
    output = capsys.readouterr().out
    assert (
        f"flags: -m ns_jax.main --config=fail --workdir={cloud.bucket}/fail --distributed --both={cloud.bucket}/x "
        "--only this"
    ) in output
    assert output.count("it went wrong") == 3 * 3  # each time as it came, and the last lines of both


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
    with pytest.raises(LaunchError, match="problem refreshing"):  # the first one: settings may be wrong
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
        return "interrupted", []

    monkeypatch.setattr(run, "follow", follow)
    with pytest.raises(LaunchError, match="problem refreshing"):
        launch(cloud, "run", "--config=other")
    assert int(offline.read_text()) == 100 - run.RESTARTS


def test_a_lost_launcher_finds_its_run_again(cloud, capsys):
    launch(cloud, "create")
    launch(cloud, "setup")
    tpu = Tpu(read_toml(str(cloud.settings), Settings))
    job, starts = Job("wait"), cloud.bucket / "wait" / "starts"
    run.start(tpu, job)
    until(lambda: starts.exists() and len(starts.read_text().split()) == 2)
    with pytest.raises(LaunchError, match="wait goes on there: stop it first"):
        run.start(tpu, Job("other"))
    git("commit", "--quiet", "--allow-empty", "-m", "second", cwd=pathlib.Path.cwd())
    with pytest.raises(LaunchError, match="a run of another commit goes on: stop it first"):
        launch(cloud, "setup")
    following = InBackground(cloud, "run", "--config=wait", "--commit=HEAD~")
    until(lambda: cloud.steps().count("start") == 3)
    (cloud.bucket / "wait" / "go").touch()
    assert following.end() is None
    assert starts.read_text().split() == ["started"] * 2 and "went on" in capsys.readouterr().out


def test_a_lost_launcher_finds_the_chain_where_it_is(cloud, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("".join(f"[[runs]]\nconfig = '{config}'\n" for config in ("first", "wait", "last")))
    launch(cloud, "create")
    launch(cloud, "setup")
    tpu = Tpu(read_toml(str(cloud.settings), Settings))
    assert run.going_on(tpu) == ""
    run.start(tpu, Job("wait"))
    until(lambda: (cloud.bucket / "wait" / "starts").exists())
    assert run.going_on(tpu) == "wait"
    following = InBackground(cloud, "chain", f"--recipe={recipe}")
    until(lambda: cloud.steps().count("start") == 2)
    (cloud.bucket / "wait" / "go").touch()
    assert following.end() is None
    assert sorted(path.name for path in cloud.bucket.iterdir()) == ["last", "wait"]
    assert (cloud.bucket / "wait" / "starts").read_text().split() == ["started"] * 2


def test_stop_ends_a_run_that_does_not_hear_sigterm(cloud):
    background = InBackground(cloud, "run", "--config=deaf")
    until(lambda: len(list(cloud.bucket.glob("deaf/deaf-*"))) == 2)
    launch(cloud, "stop")
    assert background.end() == "deaf was stopped"
    with pytest.raises(LaunchError, match="deaf does not go on: stopped"):
        launch(cloud, "follow", "--config=deaf")
    launch(cloud, "run", "--config=other")  # nothing is left of it


def test_following_what_does_not_go_on_ends(cloud):
    with pytest.raises(LaunchError, match="never does not go on: interrupted"):  # no TPU
        launch(cloud, "follow", "--config=never")
    launch(cloud, "create")
    with pytest.raises(LaunchError, match="never does not go on: interrupted"):  # a TPU where it was not started
        launch(cloud, "follow", "--config=never")
    for home in cloud.folder.glob("ns-jax/*/worker-*"):
        (home / "ns_jax_run" / "never.exit").touch()  # all that a full disk leaves
    with pytest.raises(LaunchError, match="never does not go on: failed"):
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
    create = [
        "compute",
        "tpus",
        "queued-resources",
        "create",
        "ns-jax",
        "--node-id=ns-jax",
        "--runtime-version=tpu-ubuntu2204-base",
        "--accelerator-type=v4-32",
        "--spot",
        "--network=mine",
        *WHERE,
    ]
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
    with pytest.raises(LaunchError, match="problem refreshing"):  # the first look is not patient
        launch(cloud, "run", "--config=other")
    tpu = Tpu(read_toml(str(cloud.settings), Settings))
    offline.write_text("2")
    machine.create(tpu)
    assert capsys.readouterr().out.count("no answer from gcloud") == 2
    machine.delete(tpu)
    subprocess.run(
        [
            "gcloud",
            "compute",
            "tpus",
            "queued-resources",
            "create",
            "ns-jax",
            "--node-id=ns-jax",
            "--runtime-version=a",
            "--accelerator-type=b",
            *WHERE,
        ],
        check=True,
    )
    failures = iter(["1"])  # after the first look
    monkeypatch.setattr(tpu, "wait", lambda: offline.write_text(next(failures, "0")))
    assert machine.lasting_state(tpu) == "READY"
    output = capsys.readouterr().out
    assert output.index("is WAITING_FOR_RESOURCES") < output.index("no answer from gcloud")


def test_another_commit_gets_an_environment_of_its_own(cloud):
    """What uv finds installed it keeps, whatever the date of the commit."""
    cloud.settings.write_text(re.sub("python = .*", 'python = ""', cloud.settings.read_text()))
    uv = cloud.folder.parent / "bin" / "uv"
    uv.write_text("#!/bin/bash\n[ $1 = venv ] || exit 0\nmkdir .venv && echo made >> $STAND_IN/environments\n")
    uv.chmod(0o755)
    made = cloud.folder / "environments"
    launch(cloud, "create")
    for count in (2, 2):
        launch(cloud, "setup")
        assert len(made.read_text().split()) == count
    git("commit", "--quiet", "--allow-empty", "-m", "second", cwd=pathlib.Path.cwd())
    launch(cloud, "setup")
    assert len(made.read_text().split()) == 4


def test_a_commit_that_the_repository_does_not_have(cloud, tmp_path, monkeypatch):
    commit, repository = "1" * 40, cloud.settings.parent / "repository"
    with pytest.raises(LaunchError, match=f"^{repository} has no commit {commit}: push it$"):
        launch(cloud, "run", "--config=other", f"--commit={commit}")
    for wanted in ("mian", "1" * 7):  # before a TPU is created
        with pytest.raises(LaunchError, match=f"there is no commit '{wanted}' here"):
            launch(cloud, "run", "--config=other", f"--commit={wanted}")
    assert len(cloud.steps()) == 2  # of the first
    (pathlib.Path.cwd() / "file").write_text("changed\n")
    with pytest.raises(LaunchError, match="changes are not committed"):
        launch(cloud, "run", "--config=other")
    launch(cloud, "setup", "--commit=HEAD")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match="not a git clone"):
        launch(cloud, "setup")


@pytest.mark.parametrize("queued", [False, True])
def test_the_stand_in_refuses_what_gcloud_refuses(cloud, queued):
    with cloud.settings.open("a") as file:
        file.write(f"queued = {json.dumps(queued)}\ncreate_flags = ['--spto']\n")
    with pytest.raises(LaunchError, match="unrecognized arguments: --spto"):
        launch(cloud, "create")


def test_gclouds_own_message_when_it_cannot_create(cloud):
    (cloud.folder / "refusals").write_text("1")
    with pytest.raises(LaunchError, match="RESOURCE_EXHAUSTED: There is no more capacity"):
        launch(cloud, "run", "--config=other")
    assert cloud.steps() == [CREATE]
