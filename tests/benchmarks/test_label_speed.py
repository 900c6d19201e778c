from benchmarks import label_speed
from tests.tiny_model import TINY


def test_a_row_for_each(quick_compilation):
    table = label_speed.measure(TINY, images=24, batch_size=8, rounds=2)
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == ["bare forward", "label stage", "evaluation", "reading alone"]


def test_jpegs_are_read_from_shards(tmp_path):
    source, count = label_speed.open_images(tmp_path, 9, is_small=False)
    assert source.count == count == 9 and source.name.startswith("arrayrecord:")
