"""The .npz files of efficientnet-jax: a list of names, and arrays '0', '1', ... in PyTorch's layout."""

import io
import json
import zipfile

import numpy as np
from etils import epath

from ns_jax.artifact.weights import EMBEDDED
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.interop.foreign import ForeignWeights


def read_npz(path: epath.Path, ema: bool) -> ForeignWeights:
    """Raises UserError for a file that is not one of efficientnet-jax."""
    del ema  # such files hold one set of weights
    try:
        file = np.load(path)
        index = {str(name): str(i) for i, name in enumerate(file["names"])}
        arrays = {name: file[i] for name, i in index.items()}
        card = json.loads(str(file[EMBEDDED])) if EMBEDDED in file else {}
    except (KeyError, ValueError, IndexError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an .npz file of efficientnet-jax ({' '.join(str(error).split())})") from None
    shapes = {name: value.shape for name, value in arrays.items()}
    return ForeignWeights("npz", shapes, arrays.__getitem__, str(path), card)


def write_npz(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes names, types and arrays as efficientnet-jax does, and the card, which it does not look at."""
    types = [
        {4: "Conv2d", 2: "Linear"}.get(
            value.ndim, "BatchNorm2d" if ".bn" in name else "Linear" if "classifier" in name else "Conv2d"
        )
        for name, value in arrays.items()
    ]
    buffer = io.BytesIO()
    numbered = {str(i): value for i, value in enumerate(arrays.values())}
    np.savez(
        buffer,
        names=np.array(list(arrays)),
        types=np.array(types),
        **{EMBEDDED: np.array(artifact.embedded_card())},
        **numbered,
    )
    write_bytes(path, buffer.getvalue())
