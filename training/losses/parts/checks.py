# SPDX-License-Identifier: Apache-2.0
"""Base class of the losses' settings, and checks of tensor shapes."""

import re
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


def check_dims(caller: str, expected: str, *tensors: Tensor) -> None:
    """Raise ValueError unless the dimensions of tensors agree.

    Args:
        caller: name of the function that expects the tensors, for the message.
        expected: names of the tensors, each with its dimensions, such as `a (N, 4) and b (N,)`.
            Dimensions with the same letter have the same size; a number is a size.
        tensors: the tensors, in this order.
    """
    sizes: dict[str, int] = {}
    for tensor, dims in zip(tensors, re.findall(r'\((.*?)\)', expected), strict=True):
        names = [name.strip() for name in dims.split(',') if name.strip()]
        if tensor.ndim != len(names) or any(
            size != (int(name) if name.isdigit() else sizes.setdefault(name, size))
            for name, size in zip(names, tensor.shape, strict=True)
        ):
            got = ', '.join(str(tuple(x.shape)) for x in tensors)
            raise ValueError(f'{caller} expects {expected}, got {got}')


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
