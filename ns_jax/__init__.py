"""Noisy Student Training in JAX. `ns_jax.fit` trains on your images, `ns_jax.load` opens a trained model."""

import os
from typing import TYPE_CHECKING, Any

# Paths in buckets are opened by gcsfs, not by TensorFlow (ns_jax/buckets.py); epath looks when it opens its first file.
os.environ.setdefault("EPATH_USE_TF", "0")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ns_jax.fitting.run import Run
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
    fold_batch_norm: bool = True,
    engine: str = "jax",
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
      fold_batch_norm: whether batch norm becomes part of the convolutions, which is faster and gives the same logits to
        float32 round-off; False: the module and variables are those of training.
      engine: what computes logits: 'jax', or on CPU 'onnxruntime' or 'openvino' (docs/models.md).

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
        fold_batch_norm=fold_batch_norm,
        engine=engine,
    )


def fit(
    labeled: "Any",
    unlabeled: "Any",
    test: "Any" = None,
    *,
    workdir: "str | os.PathLike",
    start: "str | None" = None,
    budget: str = "30m",
    control: bool = False,
    corrections: str = "",
    after: "str | os.PathLike" = "",
    **overrides: "Any",
) -> "Run":
    """Trains a teacher and noisy students on your own images, as `python -m ns_jax.fit` does.

    Args:
      labeled: images with labels: a folder with one sub-folder per class, a table with the columns path and label, any
        data source, or a Python object with a length and an index that gives (image, label) (docs/data.md).
      unlabeled: images without labels, in the same forms.
      test: images with labels that are looked at once, at the end; None: there are none.
      workdir: folder for everything that the run makes. An interrupted run continues there.
      start: trained weights, as 'efficientnet-lite0' or a model's path; '': none; None: those of the recipe.
      budget: how long it may take, as '30m' or '2h'.
      control: whether to train a supervised model of as many steps beside it.
      corrections: file of labels that a person has checked.
      after: folder of an earlier run: its plan is taken over, and the results are compared.
      **overrides: fields of configs/own_images.py, with two underscores for a dot: noise__dropout_rate=0.3.

    Returns:
      The run: its model, results, table and page.

    Raises:
      UserError: the images, the budget or a field cannot be used as they are.
    """
    from ns_jax.fitting.run import fit as fit_images  # here, so that `import ns_jax` stays light

    return fit_images(
        labeled,
        unlabeled,
        test,
        workdir=workdir,
        start=start,
        budget=budget,
        control=control,
        corrections=corrections,
        after=after,
        **overrides,
    )
