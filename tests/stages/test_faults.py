"""A fault on one of two hosts, in every stage: the run ends with a line on every host, or goes on; never does it hang.

    python -m pytest -n0 -m slow --timeout=0 tests/stages/test_faults.py -s

prints the table of docs/pods.md, a line a cell, and writes it to $FAULTS_TABLE.
"""

import os
import pathlib
import shutil

import pytest

from tests import faults
from tests.stages.test_loop import results

pytestmark = pytest.mark.slow
SILENCE = 30.0  # seconds, of the run; the default is 60
ARGUMENTS = (
    "--config=tests/stages/rings.py",
    f"--config.timeouts.silence_seconds={SILENCE:.0f}",
    "--config.keep_checkpoints=3",
)
LONGEST = 240.0
# What the stage makes, and all later ones, is deleted before a run that is disturbed in it.
MADE_BY = {
    "label": ("labels", "selection", "checkpoints", "model", "evaluations"),
    "select": ("selection", "checkpoints", "model", "evaluations"),
    "train": ("checkpoints/9", "checkpoints/12", "model", "evaluations"),
    "evaluate": ("evaluations",),
    "check": ("evaluations",),
    "report": (),
}
# Where a process of a number does nothing that the fault could touch, the run goes on.
CELLS = [(stage, kind, process) for stage in faults.STAGES for kind in faults.FAULTS for process in (0, 1)]


@pytest.fixture(scope="module")
def forks():
    return faults.context()


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    workdir = pathlib.Path(os.environ.get("FAULTS_UNDISTURBED", folder / "undisturbed"))
    if not (workdir / "report").exists():
        processes = faults.start(forks, [*ARGUMENTS, f"--workdir={workdir}"], 2, folder / "logs")
        codes = [code for code, _ in faults.end(processes, 1200)]
        assert codes == [0, 0], "".join(log.read_text() for log in (folder / "logs").iterdir())
    return workdir


def prepared(undisturbed, workdir, stage: str) -> None:
    """A run that is about to begin a stage of its student."""
    shutil.copytree(undisturbed, workdir)
    for name in MADE_BY[stage]:
        shutil.rmtree(workdir / "iteration_1" / name, ignore_errors=True)
    shutil.rmtree(workdir / "report")


@pytest.mark.parametrize("stage, kind, process", CELLS)
def test_a_fault(forks, undisturbed, tmp_path, stage, kind, process):
    workdir, logs = tmp_path / "run", tmp_path / "logs"
    prepared(undisturbed, workdir, stage)
    arguments = [*ARGUMENTS, f"--workdir={workdir}"]
    fault = faults.Fault(stage, kind, str(workdir), seconds=2 * SILENCE)
    ended = faults.end(faults.start(forks, arguments, 2, logs, fault, process), LONGEST)
    texts = {number: (logs / f"{number}.txt") for number in (0, 1)}
    codes = [code for code, _ in ended]
    happened = faults.moment(texts[process])
    assert happened is not None, texts[process].read_text()
    other = 1 - process
    silence = ended[other][1] - happened
    lines = {number: faults.errors(texts[number]) for number in texts}
    row = f"| {stage} | {kind} | {process} | {describe(codes, other)} | {silence:.0f} s | "
    row += f"{(lines[other] or lines[process] or [''])[0].removeprefix('error: ')[:150]} |"
    assert None not in codes, row
    if 0 not in codes and kind not in ("kill", "term"):
        assert len(lines[other]) == 1 and "Traceback" not in texts[other].read_text(), texts[other].read_text()
    if codes != [0, 0]:
        again = faults.end(faults.start(forks, arguments, 2, tmp_path / "again"), 600)
        assert [code for code, _ in again] == [0, 0], (tmp_path / "again" / "0.txt").read_text()
    assert results(workdir) == results(undisturbed)
    print(row, flush=True)
    if table := os.environ.get("FAULTS_TABLE"):
        with open(table, "a") as file:
            file.write(row + "\n")


def describe(codes: list, other: int) -> str:
    """What became of the run, by the exit codes of its processes."""
    if codes == [0, 0]:
        return "goes on"
    return "ends, 143" if codes == [143, 143] else f"ends, {codes[other]}"
