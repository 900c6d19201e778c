"""timm's names, shapes and logits against timm itself, where it is installed."""

import numpy as np
import pytest

from ns_jax.inference.model import Model
from ns_jax.interop.foreign import expected_shapes, to_foreign
from ns_jax.interop.torch_state import COUNTER
from ns_jax.models.registry import get_architecture
from tests.interop.weights import random_artifact

pytestmark = pytest.mark.slow

MODELS = {f"tf_efficientnet_b{i}": f"efficientnet-b{i}" for i in range(8)} | {"tf_efficientnet_l2": "efficientnet-l2"}


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


def test_logits():
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_b0").eval()
    artifact = random_artifact("efficientnet-b0")
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    normalized = (images / 255 - artifact.metadata["mean"]) / artifact.metadata["std"]
    inputs = torch.from_numpy(normalized.transpose(0, 3, 1, 2).astype(np.float32))

    # With random moments of batch norm, activations vanish or explode with the depth: timm takes those of the images.
    state = {name: torch.from_numpy(value) for name, value in to_foreign(artifact, "timm").items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith(COUNTER) for name in missing)
    norms = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.train()
        layer.momentum = 1.0
    with torch.no_grad():
        theirs(inputs)
        want = theirs.eval()(inputs).numpy()
    names = get_architecture("efficientnet-b0").foreign_names("timm")
    moments = theirs.state_dict()
    for key, name in names.items():
        if key.startswith("batch_stats/"):
            collection, *path = key.split("/")
            tree = artifact.variables[collection]
            for part in path[:-1]:
                tree = tree[part]
            tree[path[-1]] = moments[name.name].numpy().copy()

    got = Model(artifact).logits(images)
    assert np.abs(want[0] - want[1]).std() > 0.3 * want.std()  # the images, not the biases, decide
    assert np.abs(got - want).max() <= 1e-4 * want.std()
