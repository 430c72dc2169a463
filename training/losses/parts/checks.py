# SPDX-License-Identifier: Apache-2.0
"""Base class of the losses' settings, and checks of tensor shapes."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from panoptic_ros.models.config import NOT_NEGATIVE, Config


class LossConfig(Config):
    """Base class of the losses' settings; weights must not be negative."""

    section = 'loss'

    def __post_init__(self) -> None:
        """Raise ValueError for a value that breaks a rule."""
        super().__post_init__()
        self.check({name: NOT_NEGATIVE for name in vars(self) if name.endswith('_weight')})


def check_shapes(
    caller: str,
    reference: str,
    tensors: Iterable[tuple[str, Tensor | None, Sequence[tuple[int, ...]]]],
) -> None:
    """Raise ValueError if a tensor has another shape than those allowed.

    Args:
        caller: name of the function that expects the tensors, for the message.
        reference: tensor that the allowed shapes were derived from, and its shape.
        tensors: name, tensor and allowed shapes of each; a tensor that is None fits.
    """
    for name, tensor, allowed in tensors:
        if tensor is not None and tuple(tensor.shape) not in allowed:
            raise ValueError(
                f'{caller} expects {name} {" or ".join(map(str, allowed))} beside {reference}, '
                f'got {tuple(tensor.shape)}'
            )
