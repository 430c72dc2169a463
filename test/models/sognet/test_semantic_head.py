# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution by nine taps against torchvision's operator."""

import pytest
import torch
from torchvision.ops import deform_conv2d

from panoptic_ros.models.sognet.semantic_head import (
    DeformableConv,
    SharedSemanticHead,
    deform_by_taps,
)


@pytest.mark.parametrize(
    ('scale', 'why'),
    [(0.0, 'a plain convolution'), (1.0, 'near by'), (20.0, 'far outside the map')],
)
@pytest.mark.parametrize('size', [(7, 9), (1, 2)])
def test_taps_equal_torchvisions_operator(size, scale, why):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, *size), torch.randn(4, 3, 3, 3), torch.randn(4)
    offset = torch.randn(2, 18, *size) * scale
    torch.testing.assert_close(
        deform_by_taps(x, offset, weight, bias),
        deform_conv2d(x, offset, weight, bias, padding=1),
        rtol=1e-4,
        atol=1e-4,
        msg=why,
    )


def test_fresh_layer_is_a_plain_convolution_and_the_same_in_training():
    torch.manual_seed(0)
    layer, x = DeformableConv(3, 4), torch.randn(1, 3, 6, 8)
    plain = torch.nn.functional.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1)
    torch.testing.assert_close(layer.train()(x), plain)
    torch.testing.assert_close(layer.eval()(x), plain)
    layer.offset.weight.data.normal_()
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))


@pytest.mark.parametrize('deformable', [True, False])
def test_levels_share_the_head(deformable):
    torch.manual_seed(0)
    head = SharedSemanticHead(5, (6, 4), deformable)
    levels = [torch.randn(2, 5, 16 // 2**i, 24 // 2**i) for i in range(4)]
    out = head(levels)
    assert out.shape == (2, 16, 16, 24)
    torch.testing.assert_close(out[:, :4], head.layers(levels[0]))
    torch.testing.assert_close(head([levels[0]])[:, :4], out[:, :4])
