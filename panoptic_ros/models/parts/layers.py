# SPDX-License-Identifier: Apache-2.0
"""Convolutions with norm and activation, and the upsampling of maps."""

import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.models.config import MAP_STRIDE


def conv_bn_relu(
    inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution without bias, batch norm and ReLU that keeps the size."""
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def conv3x3(
    inputs: int, outputs: int, dilation: int = 1, separable: bool = False
) -> nn.Sequential:
    """Return a 3x3 `conv_bn_relu`, or its depthwise-separable form."""
    if not separable:
        return conv_bn_relu(inputs, outputs, 3, dilation)
    return separable_conv(inputs, outputs, 3, dilation)


def separable_conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Return a depthwise and a pointwise `conv_bn_relu`."""
    return nn.Sequential(
        conv_bn_relu(inputs, inputs, kernel, dilation, groups=inputs),
        conv_bn_relu(inputs, outputs),
    )


def conv_gn_relu(inputs: int, outputs: int, groups: int = 32) -> nn.Sequential:
    """Return a 3x3 convolution, group norm and ReLU; a group has at least 4 channels."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(min(groups, outputs // 4), outputs),
        nn.ReLU(inplace=True),
    )


def upsample(x: Tensor, stride: int) -> Tensor:
    """Upsample maps bilinearly from stride 4, (B, D, H/4, W/4) -> (B, D, H/stride, W/stride)."""
    if stride == MAP_STRIDE:
        return x
    return F.interpolate(x, scale_factor=MAP_STRIDE / stride, mode='bilinear')
