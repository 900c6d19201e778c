"""benchmarks.deduplicate_speed on a few fingerprints and images."""

import pytest

from benchmarks import deduplicate_speed, duplicate_distances


def test_deduplicate_speed(monkeypatch):
    pytest.importorskip("imagehash")
    table = deduplicate_speed.measure(300, 20, 4, images=3)
    assert "compare 300 with 20 within 4" in table and "read 3 images" in table and "images/s" in table

    # What is planted must be found.
    found = deduplicate_speed.find_duplicates
    monkeypatch.setattr(deduplicate_speed, "find_duplicates", lambda *arguments: found(*arguments)[1:])
    with pytest.raises(RuntimeError, match="does not find what was planted"):
        deduplicate_speed.measure(50, 20, 4, images=1)


def test_duplicate_distances():
    pytest.importorskip("imagehash")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in duplicate_distances.measure(3).splitlines()]
    cells = {name: within for name, _, _, within in rows[2:]}
    assert cells["JPEG, quality 50"] == "3 of 3" and cells["mirrored"] == "0 of 3" and "another view" in cells
