# SPDX-License-Identifier: Apache-2.0
"""Checks of settings and tensor shapes that several losses share."""

from collections.abc import Iterable, Sequence

from torch import Tensor


def check_not_negative(config: object, *names: str) -> None:
    """Raise ValueError if one of the named settings of a loss is below 0."""
    for name in names:
        if getattr(config, name) < 0:
            raise ValueError(f'loss.{name} must not be negative, got {getattr(config, name)}')


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
