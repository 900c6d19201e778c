"""Failures, hangs, images, batches and several slices, against the stand-in for gcloud."""

import pytest

from launch.errors import LaunchError
from tests.launch.cloud import CREATE, DELETE, InBackground, launch, until

# Minutes of real processes.
pytestmark = pytest.mark.slow


def test_failures_that_progress_follows_do_not_end_a_run(cloud, capsys):
    launch(cloud, "run", "--config=gets-on")
    assert (cloud.bucket / "gets-on" / "count-0").read_text() == "5\n"
    assert capsys.readouterr().out.count("gets-on failed; it is started again (1 of 3 without progress)") == 4


def test_failures_at_the_same_step_end_it(cloud):
    with pytest.raises(LaunchError, match="stays failed 3 times without progress"):
        launch(cloud, "run", "--config=stays")
    assert (cloud.bucket / "stays" / "count-0").read_text() == "3\n"


def test_what_the_user_has_to_mend_is_not_tried_again(cloud, capsys):
    with pytest.raises(LaunchError, match="mistake failed; its log is"):
        launch(cloud, "run", "--config=mistake")
    assert (cloud.bucket / "mistake" / "count-0").read_text() == "1\n"
    assert "worker-1: error: no such source" in capsys.readouterr().out


def test_a_run_that_hangs_is_ended_and_started_again(cloud, capsys):
    cloud.write_settings(stall_minutes=0.05)
    launch(cloud, "run", "--config=hangs")
    assert (cloud.bucket / "hangs" / "count-1").read_text() == "2\n"
    assert "hangs stalled (no progress for 0.05 minutes); it is started again" in capsys.readouterr().out
    assert cloud.steps() == [CREATE, "setup", "start", "stop", "setup", "start"]


def test_a_run_that_hangs_for_ever_ends_and_its_tpu_is_deleted(cloud):
    cloud.write_settings(stall_minutes=0.02, failures=2, delete_at_end=True)
    with pytest.raises(LaunchError, match="hangs-for-ever stalled .* 2 times without progress"):
        launch(cloud, "run", "--config=hangs-for-ever")
    assert cloud.steps()[-2:] == ["stop", DELETE]


def test_objects_of_a_bucket_instead_of_ssh(cloud, capsys):
    """The launcher reads log and exit codes there; ssh is for set-up and start alone."""
    cloud.write_settings(bucket="gs://my-bucket/runs", look_minutes=10)
    (cloud.folder / "offline-storage").write_text("0")
    workdir = cloud.folder / "gs" / "my-bucket" / "runs" / "wait"
    background = InBackground(cloud, "run", "--config=wait")
    until(lambda: list(workdir.glob("launch/*/log")))
    (cloud.folder / "offline-storage").write_text("2")
    until(lambda: (cloud.folder / "offline-storage").read_text() == "0")
    (workdir / "go").touch()
    assert background.end() is None
    output = capsys.readouterr().out
    assert output.count("flags: -m ns_jax.main --config=wait --workdir=gs://my-bucket/runs/wait --distributed") == 1
    assert output.count("went on") == 1 and "no answer from the bucket" in output
    assert sorted(path.name for path in workdir.glob("launch/*/*")) == ["log", "worker-0.end", "worker-1.end"]
    by_ssh = [call for call in cloud.calls() if call[:4] == ["compute", "tpus", "tpu-vm", "ssh"]]
    assert [call[5] for call in by_ssh] == ["--worker=all", "--worker=0", "--worker=all", "--worker=0"]


def test_workers_in_batches(cloud):
    cloud.write_settings(batch_size=1)
    launch(cloud, "run", "--config=other")
    assert (cloud.bucket / "other" / "count-1").read_text() == "1\n"
    by_ssh = [call[5] for call in cloud.calls() if call[3] == "ssh"]
    assert by_ssh == [*["--worker=0-0", "--worker=1-1", "--worker=0"] * 2]


def test_several_slices(cloud):
    cloud.write_settings(slices=3, queued=True, batch_size=4)
    launch(cloud, "run", "--config=other")
    assert sorted(path.name for path in (cloud.bucket / "other").glob("count-*")) == [f"count-{n}" for n in range(6)]
    assert len(list(cloud.bucket.glob("other/launch/*/*.end"))) == 6
    (create,) = [call for call in cloud.calls() if call[3] == "create"]
    assert create[5:7] == ["--node-count=3", "--node-prefix=ns-jax"]
    every = [call for call in cloud.calls() if "--worker=all" in call]
    assert all(call[2:4] == ["queued-resources", "ssh"] and "--node=all" in call for call in every)
    assert all("--batch-size=4" in call for call in every)
    described = [call[4] for call in cloud.calls() if call[2:4] == ["tpu-vm", "describe"]]
    assert set(described) == {"ns-jax-0", "ns-jax-1", "ns-jax-2"}


def test_an_image_is_pulled_and_nothing_is_installed(cloud, tmp_path):
    """docker runs the worker's program after the image's name, and its `rm` finds nothing."""
    image = "europe-west4-docker.pkg.dev/p/r/ns_jax@sha256:0"
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f'#!/bin/bash\necho "docker $*" >> $STAND_IN/docker\n[ $1 = run ] || exit 0\n'
        f'while [ "$1" != {image} ]; do shift; done\nshift 2\nexec {cloud.values["python"]} "$@"\n'
    )
    sudo = tmp_path / "bin" / "sudo"
    sudo.write_text('#!/bin/bash\nexec "$@"\n')
    for program in (docker, sudo):
        program.chmod(0o755)
    cloud.write_settings(python=None, repository=None, image=image, docker_flags=["--volume=/mnt:/mnt"])
    launch(cloud, "run", "--config=other", "--", "--config.seed=1")
    called = (cloud.folder / "docker").read_text().splitlines()
    assert all(called.count(line) == 2 for line in called)  # of both workers
    login, pull, remove, start = dict.fromkeys(called)
    assert login.startswith("docker login ") and login.endswith("https://europe-west4-docker.pkg.dev")
    assert pull == f"docker pull --quiet {image}" and remove == "docker rm --force ns_jax"
    assert start == (
        "docker run --rm --init --name=ns_jax --privileged --network=host --user=root "
        f"--volume={cloud.bucket}:{cloud.bucket} --volume=/mnt:/mnt {image} python -m ns_jax.main --config=other "
        f"--workdir={cloud.bucket}/other --distributed --config.seed=1"
    )
    assert not list(cloud.folder.glob("ns-jax/*/worker-*/ns_jax"))
    with pytest.raises(LaunchError, match="--commit is of workers that clone a repository"):
        launch(cloud, "setup", "--commit=HEAD")
