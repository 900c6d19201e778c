"""The command that packs images."""

import pytest
from etils import epath

from ns_jax import pack
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from tests import command
from tests.data.shards import write


@pytest.fixture
def photos(tmp_path):
    for number in range(5):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write.jpeg(number))
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


def test_the_command(photos, tmp_path):
    out = tmp_path / "out"
    process = command.run_module("pack", f"--source=folder:{photos}", f"--out={out}", "--per_shard=2", "--name=train")
    assert process.returncode == 0, process.stderr
    assert f"{out}: 5 images in 3 shards, " in process.stdout
    assert f"1 of 6 cannot be used and are left out: {out}/broken.csv" in process.stdout
    assert f"'arrayrecord:{out}/train-*'" in process.stdout
    source = open_source(f"arrayrecord:{out}/train-*")
    assert (source.count, source.class_names) == (5, ("cat", "dog"))
    assert len(list(out.glob(".ns_jax_index-*"))) == 1  # the command has learned it
    shard = out / "train-00001-of-00003.array_record"
    pack.check_shards(epath.Path(out))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="1 shards are missing or damaged, first train-00001-of-00003.array_record"):
        pack.check_shards(epath.Path(out))
