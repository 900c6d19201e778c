"""Weights by their name on the Hugging Face hub, where timm publishes them."""

import re

from etils import epath

from ns_jax.errors import UserError

NAME = re.compile(r"(?:hf_hub:|hf-hub:)?(?:timm/)?((?P<base>tf_efficientnet_(?:b\d|l2|lite\d))(?P<tag>[._]\w+)?)")
LITE = "tf_efficientnet_lite"  # begins names of which timm has one set of weights each
OLD_TAGS = {"_ns": ".ns_jft_in1k", "_ns_475": ".ns_jft_in1k_475", "_ap": ".ap_in1k", "": ".ns_jft_in1k"}


def hub_id(name: str) -> str | None:
    """Completes a name: 'tf_efficientnet_b0.ns_jft_in1k', timm's older 'tf_efficientnet_b0_ns' and 'tf_efficientnet_b0'
    (Noisy Student's) to 'timm/tf_efficientnet_b0.ns_jft_in1k'; None for what is no such name."""
    match = NAME.fullmatch(name)
    if not match:
        return None
    model = match.group(1)
    if "." in model:
        return f"timm/{model}"
    base, tag = match.group("base"), match.group("tag") or ""
    if base.startswith(LITE):
        return None if tag else f"timm/{base}.in1k"
    if base == "tf_efficientnet_l2" and tag == "":
        return None  # 475 or 800 px?
    return f"timm/{base}{OLD_TAGS[tag]}" if tag in OLD_TAGS else None


def download(repo: str) -> epath.Path:
    """The folder with config.json and model.safetensors, from the user's cache where it is there.

    Raises:
      UserError: there is no such repository, or no network.
    """
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(repo, allow_patterns=["config.json", "model.safetensors"])
    except Exception as error:  # the hub's own errors, and those of the network below it
        raise UserError(
            f"cannot get {repo} from the Hugging Face hub ({str(error).strip().splitlines()[0]}): is there a "
            "network? A downloaded file can be given by its path."
        ) from None
    return epath.Path(folder)
