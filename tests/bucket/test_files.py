"""Files in a bucket, by the client that the project uses."""

import json
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from etils import epath

import ns_jax
from ns_jax import buckets
from ns_jax.errors import UserError
from ns_jax.experiment import lease
from ns_jax.experiment.lock import locked
from ns_jax.experiment.workdir import claim_workdir
from ns_jax.files import check_writable, file_sha256, new_file, read_json, write_bytes, write_json
from tests.bucket.faults import Faults
from tests.conftest import REPO

ROOT = epath.Path("gs://pictures/run")


def line_of(call) -> str:
    """The one line of the UserError that a call ends with."""
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_there_whole_or_not_at_all(server):
    write_json(ROOT / "a.json", {"b": 1})
    assert read_json(ROOT / "a.json") == {"b": 1}
    with pytest.raises(RuntimeError), new_file(ROOT / "half") as file:
        file.write(b"x" * 1000)
        raise RuntimeError("in the middle")
    with new_file(ROOT / "whole") as file:
        file.write(b"0123")
    assert server.objects.names("pictures") == ["run/a.json", "run/whole"]
    assert file_sha256(ROOT / "whole") == "1be2e452b46d7a0d9656bbb1f768e8248eba1b75baed65f5d99eafa948899a6a"


def test_what_another_host_writes_is_seen(server):
    assert not (ROOT / "labels" / "x").exists()
    assert list(ROOT.parent.iterdir()) == []
    server.objects.put("pictures", "run/labels/x", b"1", {})
    assert (ROOT / "labels" / "x").exists() and (ROOT / "labels").is_dir() and list(ROOT.iterdir()) == [ROOT / "labels"]


# 'lost': the request is done, and its answer never arrives.
@pytest.mark.parametrize("kind", [503, 429, "drop", "lost", "short"])
def test_errors_on_the_way_are_retried(server, kind, quick_retries):
    data = np.random.default_rng(0).bytes(100_000)
    server.faults = Faults({kind: 0.5}, in_row=1)
    write_bytes(ROOT / "data", data)
    assert (ROOT / "data").read_bytes() == data
    assert buckets.read(ROOT / "data", 10, 20) == data[10:20]
    with new_file(ROOT / "more") as file:
        file.write(data)
    assert server.faults.happened
    server.faults = Faults()
    assert server.objects.get("pictures", "run/more", {}).data == data


def test_a_token_that_expires_is_renewed(server):
    write_bytes(ROOT / "a", b"1")
    server.expire_tokens()
    notice_expiry()
    assert (ROOT / "a").read_bytes() == b"1"


def notice_expiry() -> None:
    """The client's clock says that its token has expired: the next request begins with another."""
    credentials = buckets.filesystem().credentials.credentials
    credentials.expiry = credentials.expiry.replace(year=2000)


def test_an_object_is_written_only_as_it_was_read(server):
    first = buckets.write_if_unchanged(ROOT / "lock", b"1", 0)
    assert first and buckets.write_if_unchanged(ROOT / "lock", b"2", 0) is None
    second = buckets.write_if_unchanged(ROOT / "lock", b"3", first)
    assert second != first and buckets.write_if_unchanged(ROOT / "lock", b"4", first) is None
    assert buckets.read_with_generation(ROOT / "lock") == (b"3", second)
    buckets.delete_if_unchanged(ROOT / "lock", first)
    assert (ROOT / "lock").exists()
    buckets.delete_if_unchanged(ROOT / "lock", second)
    assert buckets.read_with_generation(ROOT / "lock") == (b"", 0)


def test_an_answer_that_is_lost_does_not_lose_the_lock(server, quick_retries):
    server.faults = Faults({"lost": 1.0}, in_row=1)
    assert buckets.write_if_unchanged(ROOT / "lock", b"mine", 0)


def test_many_want_the_lock_and_one_has_it(server):
    got = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(buckets.write_if_unchanged(ROOT / "lock", b"%d" % n, 0)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8 and sum(generation is not None for generation in got) == 1


def lock_of(host: str, process: int) -> bytes:
    return json.dumps({"host": host, "process": process, "started": "2026-01-01 00:00:00 +0000"}).encode()


def test_a_second_run_is_refused_with_the_first_ones_host_and_start(server, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "POLL", 0.05)
    monkeypatch.setattr(lease, "LEASE", 5.0)
    with locked(ROOT):
        monkeypatch.setattr(lease, "has_ended", lambda content: False)  # as a process of another host sees it
        line = line_of(lambda: locked(ROOT).__enter__())
        assert re.search(r"another run works in gs://pictures/run \(process \d+ on \S+ since 20\d\d-", line)
    assert server.objects.names("pictures") == []


def test_the_lock_of_a_run_that_was_killed_passes_on(server, monkeypatch):
    monkeypatch.setattr(lease, "POLL", 0.02)
    monkeypatch.setattr(lease, "LEASE", 0.2)
    for owner in (lock_of("elsewhere", 1), b"damaged"):
        server.objects.put("pictures", "run/run.lock", owner, {})
        begin = time.monotonic()
        with locked(ROOT):
            assert 0.2 < time.monotonic() - begin < 5
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(lease, "LEASE", 600.0)
    for process in (ended.pid, os.getpid()):  # a container that starts again has the same host and process
        server.objects.put("pictures", "run/run.lock", lock_of(lease.this_process()["host"], process), {})
        with locked(ROOT):
            pass


def test_a_run_that_lost_its_lock_ends(server):
    code = (
        "import time, ns_jax\nfrom etils import epath\nfrom ns_jax.experiment import lease\n"
        "lease.BEAT = 0.2\nwith lease.Lease(epath.Path('gs://pictures/run/run.lock')): print('has it', flush=True), "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "has it\n"
        server.objects.put("pictures", "run/run.lock", lock_of("elsewhere", 7), {})
        assert process.wait(30) == 2
        errors = process.stderr.read()
    assert errors.startswith("error: another run works in gs://pictures/run (process 7 on elsewhere since 2026-01-01")
    assert len(errors.splitlines()) == 1


def test_a_folder_that_is_an_object_is_refused(server):
    server.objects.put("pictures", "run", b"I am a file", {})
    with pytest.raises(NotADirectoryError):
        check_writable(ROOT / "config.json")
    with pytest.raises(NotADirectoryError):
        check_writable(ROOT / "deeper" / "config.json")


def test_lines_for_buckets_that_cannot_be_used(server, monkeypatch):
    claim = lambda path: claim_workdir(epath.Path(path), None)
    server.forbidden.add("pictures")
    line = line_of(lambda: claim("gs://pictures/run"))
    assert "no permission for the bucket gs://pictures" in line and "Storage Object Admin" in line
    assert "no permission for the bucket gs://pictures" in line_of(lambda: ns_jax.load("gs://pictures/run"))
    server.forbidden.clear()
    server.objects.put("pictures", "file", b"", {})
    assert "Not a directory" in line_of(lambda: claim("gs://pictures/file"))
    assert "the bucket gs://nowhere does not exist" in line_of(lambda: claim("gs://nowhere/run"))
    assert "s3:// is not supported" in line_of(lambda: ns_jax.load("s3://nowhere/run"))
    assert "names no bucket" in line_of(lambda: buckets.absolute("gs://"))


def test_lines_for_credentials(server, monkeypatch, quick_retries):
    write_bytes(ROOT / "a", b"1")
    with monkeypatch.context() as without:
        without.setattr(server, "gives_tokens", False)
        server.expire_tokens()
        with pytest.raises(Exception) as caught:
            (ROOT / "a").read_bytes()
    line = str(buckets.explain(caught.value, ROOT))
    assert "the credentials for the bucket gs://pictures have expired or were refused: renew them" in line
    notice_expiry()
    assert (ROOT / "a").read_bytes() == b"1"  # and so for the tests that follow


def test_without_the_client(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "gcs", raising=False)
    buckets.filesystem.cache_clear()
    line = line_of(lambda: buckets.absolute("gs://pictures/run"))
    buckets.filesystem.cache_clear()
    assert "pip install 'ns_jax[gcs]'" in line
