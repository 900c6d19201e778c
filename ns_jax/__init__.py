"""Noisy Student Training in JAX. `ns_jax.load` opens a trained model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ns_jax.inference.model import Model


def load(
    path_or_name,
    variant: "str | None" = None,
    *,
    ema: bool = True,
    resolution: "int | None" = None,
    num_classes: "int | None" = None,
    class_names: "Sequence[str] | None" = None,
    seed: int = 0,
) -> "Model":
    """Opens a trained model, whoever trained it.

    Args:
      path_or_name: a model folder or run folder of this project, its checkpoints (the EMA of the newest) or one
        of them; timm's `.safetensors`, `.pth` or `.pth.tar`; an official TensorFlow checkpoint (folder or prefix);
        efficientnet-jax's `.npz`; a start, as 'efficientnet-lite0' (docs/models.md); or a name on the Hugging Face
        hub, as 'tf_efficientnet_b0.ns_jft_in1k'.
      variant: name of a model variant (docs/models.md), or the import path package.module:factory of one's own;
        recognised from the file where None, unless it names an import path.
      ema: False takes the raw weights of a file that has both.
      resolution: in pixels; the model's own where None. L2 is 800 px, unless its name says 475.
      num_classes: if it is another number than the model's, a fresh head replaces its own.
      class_names: names of the classes.
      seed: of a fresh head.

    Returns:
      A Model.

    Raises:
      UserError: unknown format, weights that do not fit (lists the names that are wrong) or are not finite, or a
        number that is not possible.
    """
    from ns_jax.inference.model import load as load_model  # here, so that `import ns_jax` stays light

    return load_model(
        path_or_name,
        variant,
        ema=ema,
        resolution=resolution,
        num_classes=num_classes,
        class_names=class_names,
        seed=seed,
    )
