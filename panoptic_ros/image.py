"""What a camera gives: pixels and the order of their channels."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt


class CameraImage(NamedTuple):
    """One picture as the camera sent it; usually a view on the message's own bytes."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3), or (H, W) when `order` is `mono`; rows may be padded (any strides)."""

    order: Literal['rgb', 'bgr', 'mono'] = 'rgb'
    """Meaning of the last axis."""
