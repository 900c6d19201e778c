"""How a model looks at images."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class View:
    """The size at which a model looks at images, and its centre crop.

    Where a view is None, a model takes arrays as the source has them: no window, no resize.

    Attributes:
      size: of the square image that the model gets, in pixels.
      crop_padding: the centre crop is the square of size / (size + crop_padding) of the shorter side.
      interpolation: of the resize, 'bicubic' or 'bilinear'.
    """

    size: int
    crop_padding: int
    interpolation: str = "bicubic"
