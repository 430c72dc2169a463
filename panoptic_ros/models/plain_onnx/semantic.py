# SPDX-License-Identifier: Apache-2.0
"""Semantic maps of networks that come as ONNX files: class and probability of each cell."""

import torch
import torch.nn.functional as F
from torch import Tensor


def read_cells(
    layout: str,
    output: Tensor,
    class_of_channel: Tensor,
    size: tuple[int, int],
    channels_last: bool = False,
) -> tuple[Tensor, Tensor]:
    """Read a network's output at a size.

    Args:
        layout: one of `config.SEMANTIC_LAYOUTS`. `logits` and `probabilities` are (1, C, h, w),
            and are scaled bilinearly. `ids` are whole numbers, (1, h, w), (1, 1, h, w) or
            (1, h, w, 1), and the nearest is taken.
        output: the network's.
        class_of_channel: class id of each channel, -1 for none, (C,) integer.
        size: (height, width), cells.
        channels_last: whether logits or probabilities are (1, h, w, C).

    Returns:
        The class id, -1 for none, (height, width) integer, and its probability, which is 1 for
        ids, (height, width).
    """
    channels = class_of_channel.shape[0]
    if layout == 'ids':
        sides = (
            output.shape[2:] if output.ndim == 4 and output.shape[1] == 1 else output.shape[1:3]
        )
        ids = output.reshape(1, 1, *sides).to(torch.float32)
        if tuple(ids.shape[2:]) != size:
            ids = F.interpolate(ids, size=list(size), mode='nearest')
        channel = ids[0, 0].to(torch.int64)
        prob = torch.ones_like(ids[0, 0])
        known = (channel >= 0) & (channel < channels)
        channel = channel.clamp(0, channels - 1)
    else:
        values = output.permute(0, 3, 1, 2) if channels_last else output
        if tuple(values.shape[2:]) != size:
            values = F.interpolate(values, size=list(size), mode='bilinear')
        values = values[0] if layout == 'probabilities' else values[0].softmax(dim=0)
        prob, channel = values.max(dim=0)
        known = prob > -1  # all but NaN
    class_id = class_of_channel.index_select(0, channel.flatten()).view(size)
    return torch.where(known, class_id, -1), torch.where(known, prob.clamp(0, 1), 0.0)
