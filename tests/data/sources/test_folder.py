"""Folders as people have them: deeper folders, files that are no images, names that are no English."""

import os

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data.sources.registry import OpenSources, open_source
from ns_jax.errors import UserError
from tests.data.sources.test_sources import write_image


def ids(source) -> list[str]:
    return [name.decode() for name in source.ids(np.arange(source.count))]


@pytest.fixture
def nested(tmp_path):
    for number, path in enumerate(("cat/2.png", "cat/2019/b.jpg", "cat/2019/a b/ü.png", "dog/x.png", "dog/y/1/z.jpg")):
        write_image(tmp_path / path, 10 * number)
    return tmp_path


def test_the_class_is_the_first_folder(nested):
    source = open_source(f"folder:{nested}")
    assert ids(source) == ["cat/2.png", "cat/2019/a b/ü.png", "cat/2019/b.jpg", "dog/x.png", "dog/y/1/z.jpg"]
    assert source.class_names == ("cat", "dog") and source.labels.tolist() == [0, 0, 0, 1, 1]
    image, label = source.load(tf.constant(1, tf.int64))
    assert (int(image[0, 0, 0]), int(label)) == (20, 0)


def test_names_that_sort_around_a_slash(tmp_path):
    """'a b' comes before 'a/' as text, but its class comes after 'a'."""
    for path in ("a/x.png", "a b/x.png"):
        write_image(tmp_path / path, 1)
    source = open_source(f"folder:{tmp_path}")
    assert source.class_names == ("a", "a b") and source.labels.tolist() == [0, 1]


def test_what_is_no_image_is_counted_and_named(nested):
    assert open_source(f"folder:{nested}").notes == ()
    for name in (".hidden.png", ".git/x.png", "cat/.DS_Store"):
        (nested / name).parent.mkdir(exist_ok=True)
        (nested / name).write_bytes(b"")
    (hidden,) = open_source(f"folder:{nested}").notes
    assert hidden == "3 hidden files or folders are left out: .git, .hidden.png, cat/.DS_Store"
    for name in ("notes.txt", "cat/a.heic", "dog/b.heic", "dog/README"):
        (nested / name).write_bytes(b"")
    note, _ = open_source(f"folder:{nested}").notes
    counts = "2 .heic, 1 .txt, 1 without suffix"
    assert note == f"4 files are no images and left out ({counts}): cat/a.heic, dog/README, dog/b.heic, ..."
    (nested / "dog" / "x.png").rename(nested / os.fsdecode(b"\xff\n.dat"))
    assert "\n" not in open_source(f"folder:{nested}").notes[0]


def test_news_are_told_once_a_run(nested):
    (nested / "notes.txt").write_bytes(b"")
    run = OpenSources()
    assert len(run.news(run.open(f"folder:{nested}"))) == 1
    assert run.news(run.open(f"folder:{nested}", labels=False)) == []


def test_unlabeled_images_may_lie_anywhere(nested):
    write_image(nested / "stray.png", 1)
    (nested / "empty").mkdir()
    with pytest.raises(UserError, match="both images and sub-folders"):
        open_source(f"folder:{nested}")
    source = open_source(f"folder:{nested}", labels=False)
    assert (source.count, source.class_names, set(source.labels.tolist())) == (6, (), {-1})


def test_class_folders_that_are_opened_without_labels_stay_what_they_are(nested):
    with_labels, without = (open_source(f"folder:{nested}", labels=labels) for labels in (True, False))
    assert ids(with_labels) == ids(without) and without.class_names == ("cat", "dog")


def test_links_that_lead_back_end(nested):
    (nested / "dog" / "back").symlink_to(nested / "dog", target_is_directory=True)
    (nested / "dog" / "lost.png").symlink_to(nested / "nowhere.png")
    source = open_source(f"folder:{nested}")
    assert source.count == 5 and "1 file is no image and left out (1 link to nothing): dog/lost.png" in source.notes


def test_nothing_but_other_files(tmp_path):
    (tmp_path / "x.pdf").write_bytes(b"")
    with pytest.raises(UserError, match=r"no images in it .*; 1 file is no image and left out \(1 .pdf\): x.pdf"):
        open_source(f"folder:{tmp_path}")


def test_archives_of_macos_have_no_class_of_their_own(nested):
    for name in ("__MACOSX/cat/._2.png", "cat/._2.png"):
        write_image(nested / name, 3)
    source = open_source(f"folder:{nested}")
    assert source.class_names == ("cat", "dog") and source.count == 5
    assert source.notes == ("2 hidden files or folders are left out: __MACOSX, cat/._2.png",)


def test_pipes_and_links_to_nothing_are_counted_and_never_opened(nested):
    os.mkfifo(nested / "cat" / "pipe.png")
    (nested / "cat" / "gone.png").symlink_to("/nowhere")
    (nested / "dog" / "round.png").symlink_to("round.png")
    (nested / "dog" / "back").symlink_to(nested)
    source = open_source(f"folder:{nested}")
    assert source.count == 5
    assert source.notes == (
        "3 files are no images and left out (2 link to nothing, 1 pipe or device): cat/gone.png, cat/pipe.png, "
        "dog/round.png",
        "1 links to folders that are read anyway are left out: dog/back",
    )


@pytest.mark.parametrize("target", ("/nowhere", "bird"))
def test_a_class_that_is_a_link_to_nothing_does_not_vanish(nested, target):
    (nested / "bird").symlink_to(target)
    with pytest.raises(UserError, match="'bird' is a link to nothing, and a class would be missing"):
        open_source(f"folder:{nested}")
    assert "1 link to nothing" in open_source(f"folder:{nested}", labels=False).notes[0]


def test_a_folder_that_cannot_be_read_is_named(nested, monkeypatch):
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match="dog cannot be read .Permission denied"):
        open_source(f"folder:{nested}")
