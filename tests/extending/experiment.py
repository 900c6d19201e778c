"""Noisy Student with everything of one's own. The forms 'images' and 'vectors'."""

from ns_jax.configs import mnist5k

HERE = "tests.extending"


def get_config(form: str = "images"):
    c = mnist5k.get_config("smoke")
    c.selection = f"{HERE}.own_rule:surer_half"
    c.stages = ("label", f"{HERE}.own_stage:COUNT_LABELS", "select", "train", "evaluate")
    with c.unlocked():
        c.evaluations.balanced = {"type": f"{HERE}.own_evaluation:balanced_accuracy", "data": "", "classes": ()}
    if form == "images":
        c.variant = f"{HERE}.own_model:TinyConvNetArchitecture"
        c.augment = ("pad4", f"{HERE}.own_operation:brightness")
    elif form == "vectors":
        c.variant = f"{HERE}.own_vector_model:TwoLayersArchitecture"
        c.augment = ()
        for split in ("labeled", "unlabeled", "test"):
            c.data[split] = f"{HERE}.own_source:open_rings:{split}"
    else:
        raise ValueError(f"the forms are images and vectors, not {form!r}")
    return c
