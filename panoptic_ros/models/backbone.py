"""Backbones by timm's names."""

from __future__ import annotations

from typing import Any

from torch import nn


def make_backbone(name: str, output_stride: int = 32) -> nn.Module:
    """A timm model that gives its feature maps, with fresh weights.

    Args:
        name: any timm model that can.
        output_stride: input pixels per cell of the last map, 16 or 32.

    Raises:
        ValueError: for a name that timm does not know, with those near it.
    """
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f'*{name[:6]}*')[:8] or timm.list_models('resnet*')[:8]
        raise ValueError(f'timm has no backbone {name!r}; near it: {", ".join(near)}')
    dilated: dict[str, Any] = {} if output_stride == 32 else {'output_stride': output_stride}
    return timm.create_model(name, features_only=True, **dilated)
