"""Soft against hard pseudo-labels where the unlabeled images are of other things (finding 3).

  python -m ns_jax.main --config=configs/ablation_domain.py:digits_hard,fashion --workdir=DIR

Two CPU cores, minutes. Rows are KIND_soft and KIND_hard: 5,000 images of clothes (in_domain), the same and 5,000 digits
(digits), or the same and 5,000 images of random pixels (noise); all of them are trained on, neither filtered nor
balanced. Paper: soft pseudo-labels are better than hard ones on out-of-domain images, of which it takes images that the
teacher is unsure of (configs/ablation_soft_hard.py).
"""

from ns_jax.configs import ablation, small


def _row(images: str, kind: str):
    def change(c) -> None:
        small.change_unlabeled(c, images)
        c.chain.iteration_1.update({"pseudo_label": kind, "min_confidence": 0.0, "images_per_class": 0})

    return change


ROWS = {
    f"{images}_{kind}": _row(images, kind) for images in ("in_domain", "digits", "noise") for kind in ("soft", "hard")
}


def get_config(argument: str = "digits_soft,fashion"):
    return ablation.on_the_study_set(argument, ROWS)
