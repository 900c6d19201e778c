"""What a contestant is asked to do; it travels as text, so that an interpreter without jax understands it."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Task:
    """Training steps or predictions of one model on random images.

    Attributes:
      mode: 'inference' or 'training'.
      variant: name of the model in this project.
      resolution: of the images, in pixels.
      num_classes: length of the logits.
      batch_size: images in one piece of work.
      threads: cores.
      form: of a contestant that has several, as 'bfloat16', 'compiled' or 'folded'; words joined by '_'.
      blocks: groups of equal blocks in timm's notation, as 'ir_r2_k3_s2_e6_c24_se0.25'; () where it is no EfficientNet.
      stem_filters, head_filters: channels of an EfficientNet's first and last convolution.
    """

    mode: str
    variant: str
    resolution: int
    num_classes: int
    batch_size: int
    threads: int
    blocks: tuple[str, ...] = ()
    stem_filters: int = 32
    head_filters: int = 1280
    form: str = ""

    def to_text(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Task":
        values = json.loads(text)
        return cls(**values | {"blocks": tuple(values["blocks"])})
