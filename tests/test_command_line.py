"""What --config opens, and one line for what it cannot."""

import json
import os
import subprocess
import sys

import pytest
from etils import epath

from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.fingerprint import flatten
from ns_jax.experiment.opening import open_config
from ns_jax.experiment.workdir import claim_workdir
from tests import command
from tests.conftest import REPO

PARSE = """
import json, sys
from absl import flags
from ns_jax.command_line import FLAGS, parse_flags
flags.mark_flag_as_required("config")
rest = parse_flags(sys.argv)
values = FLAGS.config.to_dict()
print(json.dumps([rest[1:], values, FLAGS.stages]))
"""


HEAD = "from ns_jax.configs import common\n"


def parse(*arguments: str, cwd=REPO) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    return subprocess.run(
        [sys.executable, "-c", PARSE, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def parsed(*arguments: str, cwd=REPO):
    """The values of the config, and of --stages."""
    process = parse(*arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr
    rest, values, stages = json.loads(process.stdout)
    assert not rest
    return values, stages


def complaint(*arguments: str) -> str:
    """The single line with which the command ends."""
    process = parse(*arguments)
    assert process.returncode == 2, process.stdout + process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ") and len(line) < 600
    return line


def test_values_and_tuples():
    values, stages = parsed(
        "--config=configs/mnist5k.py:smoke",
        "--config.seed=3",
        "--config.augment=pad4,my_package.ops:turn",
        "--config.augment_unlabeled=()",
        "--config.finetune.augment=('flip', 'cutout')",
        "--config.evaluations.test.classes=3,5",
        "--config.chain.iteration_0.data.unlabeled=folder:x",
        "--config.resolution=40",
        "--config.evaluations.more.data=folder:y",
        "--config.chain.iteration_1.train_epochs=2.5",
        "--config.chain.iteration_1.noise.dropout_rate=0.25",
        "--config.chain.iteration_1.noise.teacher",
        "--noconfig.noise.model_noise_unlabeled",
        "--stages=label,select",
    )
    assert (values["seed"], values["resolution"]) == (3, 40)
    assert values["augment"] == ["pad4", "my_package.ops:turn"] and values["augment_unlabeled"] == []
    assert values["finetune"]["augment"] == ["flip", "cutout"]
    assert values["evaluations"]["test"]["classes"] == ["3", "5"]
    assert values["evaluations"]["more"] == {"data": "folder:y"}
    assert values["chain"]["iteration_0"] == {"data": {"unlabeled": "folder:x"}}
    assert values["chain"]["iteration_1"] == {"train_epochs": 2.5, "noise": {"dropout_rate": 0.25, "teacher": True}}
    assert values["train_epochs"] == 6.0 and values["noise"]["dropout_rate"] is None
    assert values["noise"]["model_noise_unlabeled"] is False and stages == ["label", "select"]


def test_configs_of_the_package_from_anywhere(tmp_path):
    values, _ = parsed("--config=configs/mnist5k.py:smoke", "--config.seed=3", cwd=tmp_path)
    assert values == json.loads(json.dumps(mnist5k.get_config("smoke").to_dict())) | {"seed": 3}


def test_a_file_of_ones_own_from_anywhere(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mnist5k.py").write_text(
        HEAD + "def get_config():\n    c = common.get_config()\n    c.seed = 77\n    return c\n"
    )
    (tmp_path / "flags.txt").write_text("--config=configs/mnist5k.py\n--config.train_epochs=2\n")
    values, _ = parsed("--flagfile=flags.txt", cwd=tmp_path)
    assert (values["seed"], values["train_epochs"]) == (77, 2.0)


def test_the_config_json_of_a_run(tmp_path):
    config = mnist5k.get_config("smoke")
    config.seed = 9
    claim_workdir(epath.Path(tmp_path), config)
    values, _ = parsed(f"--config={tmp_path}/config.json", "--config.label_smoothing=0.2")
    config.label_smoothing = 0.2
    assert values == json.loads(json.dumps(config.to_dict()))
    assert flatten(open_config(str(tmp_path / "config.json")))["seed"] == 9


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--config.trian_epochs=3"], ["no field trian_epochs", "train_epochs"]),
        (["--config.crop=pad4"], ["crop is no longer a field", "set augment"]),
        (["--noconfig.flip"], ["'flip' in augment"]),
        (["--config.noise.randaugment_exclude=Color"], ["noise.randaugment_set"]),
        (["--config.chain.iteration_1.noise.augment_unlabeled=False"], ["set augment_unlabeled"]),
        (["--config.chain.iteration_1.sed=3"], ["no field sed", "seed"]),
        (["--config.chain.iteration_7.seed=3"], ["no iteration iteration_7", "iteration_0, iteration_1"]),
        (["--config.chain=3"], ["chain holds several fields"]),
        (["--config.evaluations.more=x"], ["evaluations.more holds several fields"]),
        (["--config.evaluations.more.clases=x"], ["clases"]),
        (["--config.stages[0]=label"], ["stages[0]", "--config.stages=A,B"]),
        (["--config.train_epochs=many"], ["train_epochs", "many"]),
        (["--config.seed=1" + 5000 * "0"], ["seed"]),
        (["--config.noise=3"], ["noise"]),
        (["--config.=3"], ["--config"]),
        (["--flagfile=/nonexistent"], ["/nonexistent"]),
        (["--confg=x"], ["confg"]),
    ],
)
def test_what_a_command_cannot_mean(arguments, words):
    line = complaint("--config=configs/mnist5k.py:smoke", *arguments)
    assert all(word in line for word in words), line


def test_no_config():
    assert "--config" in complaint()
    assert "configs/nothing.py" in complaint("--config=configs/nothing.py")


@pytest.mark.parametrize(
    "text, words",
    [
        ("def get_config(:\n", "my.py, line 1: SyntaxError"),
        ("def get_config():\n  a\n b\n", "my.py, line 3: IndentationError"),
        ("x = 1\nx = y\n", "my.py, line 2: NameError: name 'y' is not defined"),
        ("def get_config():\n    return 1 / 0\n", "my.py, line 2: ZeroDivisionError"),
        ("def get_config():\n    raise RuntimeError('no')\n", "my.py, line 2: RuntimeError: no"),
        (
            "def get_config():\n    raise ValueError('the argument is one of a, b')\n",
            "line 2: the argument is one of a, b",
        ),
        ("raise SystemExit(0)\n", "my.py, line 1: ends the program"),
        ("import sys\nsys.exit('why')\n", "my.py, line 2: ends the program .SystemExit 'why'."),
        ("import nothing_of_that_name\n", "my.py, line 1: ModuleNotFoundError"),
        ("open('/nowhere/to/be')\n", "my.py, line 1: FileNotFoundError"),
        ("x = {}['key']\n", "my.py, line 1: KeyError: 'key'"),
        ("", "my.py has no function get_config"),
        ("get_config = 3\n", "my.py has no function get_config"),
        ("def get_config():\n    pass\n", "get_config returns nothing: it must return what"),
        ("def get_config():\n    return {'seed': 0}\n", "get_config returns a dict: it must return what"),
        (
            "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({'seed': 0})\n",
            "lacks paper_row and .* more: start from c = common.get_config",
        ),
        ("def get_config(form):\n    pass\n", "get_config takes an argument: --config=FILE.py:ARGUMENT"),
        (HEAD + "def get_config():\n    c = common.get_config()\n    c.sed = 3\n", "line 4: there is no field sed"),
        (HEAD + "def get_config():\n    c = common.get_config()\n    c.crop = 'pad4'\n", "line 4: crop is no longer"),
        (
            HEAD + "def get_config():\n    c = common.get_config()\n    c.noise.augment_unlabeled = False\n",
            "line 4: noise.augment_unlabeled is no longer a field: set augment_unlabeled",
        ),
        (HEAD + "def get_config():\n    c = common.get_config()\n    c.finetune.augment = True\n", "line 4: .*augment"),
        (
            HEAD + "def get_config():\n    c = common.get_config().unlock()\n    c.sed = 3\n    return c\n",
            "my.py: there is no field sed",
        ),
    ],
)
def test_a_file_that_makes_no_config(text, words, tmp_path):
    path = tmp_path / "my.py"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        open_config(str(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "spec, words",
    [
        ("configs/mnist5.py", "no file configs/mnist5.py, did you mean configs/mnist5k.py"),
        ("configs/b2_teacher.py:x", "get_config takes no argument"),
        ("configs/b0_ns.py:x", "the argument is one of same_teacher, l2_teacher; not 'x'"),
        ("configs", "is not a file"),
        ("README.md", "a Python file"),
        ("nothing/config.json", "does not exist"),
        ("", "names no file"),
    ],
)
def test_a_path_to_no_config(spec, words):
    with pytest.raises(UserError, match=words):
        open_config(spec)


def test_an_empty_workdir_is_refused(tmp_path):
    command.assert_one_line_error(command.run(""), "--workdir is empty")


def test_a_config_that_raises_a_keyboard_interrupt_is_one_line(tmp_path):
    (tmp_path / "c.py").write_text("def get_config():\n    raise KeyboardInterrupt\n")
    command.assert_one_line_error(command.run(tmp_path / "w", config=tmp_path / "c.py"), "c.py, line 2: Keyboard")
