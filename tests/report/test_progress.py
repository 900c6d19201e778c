import re

from ns_jax.report import progress


def test_plain_lines_say_what_is_left_once_it_is_known(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_SECONDS", 0.0)
    with progress.StageProgress("train", total=40) as bar:
        bar.update(1, "loss 2.662")
        bar.update(2, "loss 2.600")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "train: 1/40, loss 2.662"
    assert re.fullmatch(r"train: 2/40, \d+\.\d steps/s, loss 2.600, 0 s left", second)
