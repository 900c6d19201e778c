"""Every file that the project reads, damaged: it ends in a UserError or a right result, in little time and memory.

A new format joins by a line in FORMATS: its name, what writes a good file, and what reads one.
"""

import resource
import signal
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
from etils import epath

from ns_jax.artifact.metadata import model_metadata, read_metadata
from ns_jax.artifact.weights import load_artifact, save_artifact
from ns_jax.configs import mnist5k
from ns_jax.data.preprocess import clean_image
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.experiment.saved import load_config, save_config
from ns_jax.inference.run_folder import result_of_run
from ns_jax.interop import formats
from ns_jax.models.registry import get_architecture
from ns_jax.pseudo_labels.check import values_problem
from ns_jax.pseudo_labels.chunks import read_labels as read_store
from ns_jax.pseudo_labels.selecting import SAMPLES, read_samples, write_samples
from ns_jax.pseudo_labels.store import LabelStore, Selection, Writing
from ns_jax.pseudo_labels.survey import survey
from tests.hostile.mutations import mutate
from tests.interop.torch_files import legacy_file, state_dict_file, zip_file
from tests.interop.weights import random_artifact
from tests.pseudo_labels import version_0_1
from tests.tiny_model import TINY

MOST_SECONDS, MOST_MIB = 20, 500
IDS = np.array([b"a", b"b", b"c"])
ARRAYS = {"conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "conv.bias": np.ones(3, np.float32)}


class Format(NamedTuple):
    """A kind of file: `write` makes a good one in a folder and returns it, `read` reads it with all its checks."""

    write: Callable[[epath.Path], epath.Path]
    read: Callable[[epath.Path], object]


def image_of(kind: str) -> Format:
    def write(folder):
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        image = PIL.Image.fromarray(pixels)
        (image.quantize(16) if kind == "BMP" else image).save(folder / "image", kind)
        return folder / "image"

    return Format(write, lambda path: clean_image(path, View(8, 2)))


def foreign(name: str, file: str, write_arrays: Callable) -> Format:
    def write(folder):
        write_arrays(folder / file)
        return folder / file

    def read(path):
        weights = formats.WEIGHTS[name].read(path, False)
        return [weights.get(array) for array in weights.shapes]

    return Format(write, read)


def write_npz(path) -> None:
    numbered = {str(number): array for number, array in enumerate(ARRAYS.values())}
    np.savez_compressed(path, names=np.array(list(ARRAYS)), **numbered)


def artifact_file(name: str, read: Callable) -> Format:
    def write(folder):
        metadata = model_metadata(get_architecture(TINY), 3, class_names=["a", "b", "c"])
        save_artifact(folder, random_artifact(TINY, 3).variables, metadata)
        return folder / name

    return Format(write, lambda path: read(path.parent))


def write_labels(folder, top_k: int = 0):
    store = LabelStore(folder, Writing([(0, 3)], lambda indices: IDS[indices], True, top_k))
    store.write_labels(0, IDS, np.eye(3, dtype=np.float32))
    return store.shard_path(0)


def write_old_labels(folder):
    version_0_1.write_labels(LabelStore(folder), 0, IDS, np.eye(3, dtype=np.float32))
    return folder / "shard-00000.npy"


def write_probabilities(folder):
    write_labels(folder, top_k=2)
    return LabelStore(folder).probabilities_path(0)


def read_labels(path):
    if problem := values_problem(LabelStore(path.parent).read_shard(0), 3, 3):
        raise UserError(problem)


def write_selection(folder):
    selection = Selection(folder)
    selection.write_copies(0, np.array([1, 0, 300], np.uint32))
    return selection.shard_path(0)


def write_old_selection(folder):
    Selection(folder).write_records(0, IDS, np.ones(3))
    return folder / "shard-00000.npy"


def write_samples_file(folder):
    write_labels(folder / "labels")
    store, selection = LabelStore(folder / "labels"), Selection(folder)
    store.write_manifest({"ranges": [[0, 3]], "class_names": ["a", "b", "c"]})
    write_samples(selection, survey(read_store(store, 0)), store)
    return folder / SAMPLES


def write_manifest(folder):
    fields = {"ranges": [[0, 4], [4, 6]], "counts": [4, 2], "sha256": ["0" * 64] * 2, "class_names": ["a", "b"]}
    LabelStore(folder).write_manifest(fields)
    return folder / "manifest.json"


def write_config(folder):
    save_config(folder / "config.json", mnist5k.get_config("smoke"))
    return folder / "config.json"


def write_choice(folder):
    (folder / "choice.json").write_text('{"model": "iteration_1/model"}')
    return folder / "choice.json"


FORMATS = {
    **{f"image {kind}": image_of(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")},
    "model.json": artifact_file("model.json", read_metadata),
    "weights of a model": artifact_file("weights.safetensors", load_artifact),
    "safetensors": foreign("timm", "w.safetensors", lambda path: safetensors.numpy.save_file(ARRAYS, path)),
    "npz": foreign("npz", "w.npz", write_npz),
    "pth": foreign("pth", "w.pth", lambda path: path.write_bytes(state_dict_file(ARRAYS, zip_file))),
    "pth of old": foreign("pth", "w.pth", lambda path: path.write_bytes(state_dict_file(ARRAYS, legacy_file))),
    "pseudo-labels": Format(write_labels, read_labels),
    "pseudo-labels of version 0.1": Format(write_old_labels, read_labels),
    "probabilities": Format(write_probabilities, lambda path: LabelStore(path.parent).check_files(0)),
    "selection": Format(write_selection, lambda path: Selection(path.parent).read_copies(0)),
    "selection of version 0.1": Format(write_old_selection, lambda path: Selection(path.parent).read_copies(0)),
    "samples of a selection": Format(write_samples_file, lambda path: read_samples(Selection(path.parent))),
    "manifest": Format(write_manifest, lambda path: LabelStore(path.parent).manifest()),
    "config.json": Format(write_config, load_config),
    "choice.json": Format(write_choice, lambda path: result_of_run(path.parent)),
}


def check_cases(kind: str, folder: epath.Path, seeds: range) -> int:
    """Reads a file with each kind of damage. Returns how many were refused; raises what is no UserError."""
    path = FORMATS[kind].write(folder)
    good, refused = path.read_bytes(), 0
    FORMATS[kind].read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        path.write_bytes(mutate(good, seed))
        signal.alarm(MOST_SECONDS)
        try:
            FORMATS[kind].read(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 3000, (seed, str(error))
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    assert grown < MOST_MIB, f"{kind}: {grown:.0f} MiB more"
    return refused


@pytest.fixture(autouse=True)
def end_what_hangs():
    def stop(*_):
        raise TimeoutError(f"it takes more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_refused_or_right(kind, tmp_path):
    assert check_cases(kind, epath.Path(tmp_path), range(40)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_many_damaged_files(kind, tmp_path):
    check_cases(kind, epath.Path(tmp_path), range(40, 40 + 50_000 // len(FORMATS)))
