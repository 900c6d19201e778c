from benchmarks.select_speed import CASES, LARGE, measure, table


def test_every_rule_equals_brute_force(tmp_path):
    rows = measure(tmp_path, images=3000, threads=2, classes=20, shard_size=128)
    assert [row["case"] for row in rows] == [case.name for case in CASES]
    assert all(row["equal"] is True for row in rows)
    assert table(rows).count("yes") == len(CASES)


def test_of_many_images_the_paper_s_rule_alone(tmp_path):
    (row,) = measure(tmp_path, images=2000, threads=1, classes=20, shard_size=500, compared=0)
    assert row["case"] == LARGE.name and row["equal"] is None and row["peak"] > 10
