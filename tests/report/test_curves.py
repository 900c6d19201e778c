"""Curves of a training, written and read again."""

from etils import epath

from ns_jax.report.curves import SCALARS, read_scalars
from ns_jax.report.writer import ScalarWriter


def test_what_was_done_again_counts_as_the_last_time(tmp_path):
    folder = epath.Path(tmp_path / "logs")
    assert read_scalars(folder) == {}
    writer = ScalarWriter(folder)
    writer.write_scalars(4, {"loss": 2.0})
    writer.write_scalars(8, {"loss": 1.5, "accuracy": 0.5})
    writer.close()
    with (folder / SCALARS).open("a") as file:
        file.write('{"step": 12, "lo')  # killed here
    with (folder / SCALARS).open("a") as file:
        file.write("\n")
    writer = ScalarWriter(folder)
    writer.write_scalars(8, {"loss": 1.25, "accuracy": 0.75})
    writer.close()
    curves = read_scalars(folder)
    assert [part.tolist() for part in curves["loss"]] == [[4, 8], [2.0, 1.25]]
    assert [part.tolist() for part in curves["accuracy"]] == [[8], [0.75]]
    assert list(folder.glob("events.out.tfevents.*"))
