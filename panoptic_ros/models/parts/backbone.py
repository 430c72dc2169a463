# SPDX-License-Identifier: Apache-2.0
"""Backbones from timm: construction, feature maps, dilation and freezing."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

LEVEL_STRIDES = (4, 8, 16, 32)
"""Strides of a pyramid's levels P2 to P5."""


def make_backbone(name: str, output_stride: int = 32) -> nn.Module:
    """Build a timm model that returns its feature maps, with fresh weights.

    Args:
        name: any timm model that supports this.
        output_stride: input pixels per cell of the last map, 16 or 32.

    Raises:
        ValueError: if timm does not know the name (the message suggests similar ones), or the
            model has no feature maps at this stride.
    """
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f'*{name[:6]}*')[:8] or timm.list_models('resnet*')[:8]
        raise ValueError(f'timm has no backbone {name!r}; similar: {", ".join(near)}')
    options: dict[str, Any] = {} if output_stride == 32 else {'output_stride': output_stride}
    if name.startswith('swin_'):  # else it takes images of its own size only
        options['strict_img_size'] = False
    try:
        return timm.create_model(name, features_only=True, **options)
    except (TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f'backbone {name!r} has no feature maps at output stride '
            f'{output_stride} ({error}); take another, or an output_stride of 32 '
            'if the family has this key'
        ) from None


def level_indices(backbone: Any, name: str) -> list[int]:
    """Return the indices of the backbone's features at the strides of a pyramid.

    Raises:
        ValueError: if the backbone lacks one of these strides.
    """
    reductions = backbone.feature_info.reduction()
    if set(LEVEL_STRIDES) - set(reductions):
        raise ValueError(
            f'backbone {name!r} must have features at strides {LEVEL_STRIDES}, it has {reductions}'
        )
    return [reductions.index(stride) for stride in LEVEL_STRIDES]


def feature_maps(backbone: Any, image: Tensor) -> list[Tensor]:
    """Compute the features (B, C, h, w) of a backbone; Swin's own layout has C last."""
    features: list[Tensor] = backbone(image)
    if str(getattr(backbone, 'output_fmt', 'NCHW')).endswith('NHWC'):
        return [x.permute(0, 3, 1, 2) for x in features]
    return features


def set_multigrid(backbone: nn.Module, grid: Sequence[int]) -> None:
    """Multiply the dilations of the last stage's blocks (multigrid, DeepLabV3).

    Args:
        backbone: one of timm's ResNets at output stride 16, whose last stage has dilation 2.
        grid: factor of each block's dilation.

    Raises:
        ValueError: if the backbone has no such stage, or another number of blocks.
    """
    blocks: Any = getattr(backbone, 'layer4', None)
    if blocks is None or len(blocks) != len(grid):
        raise ValueError(
            f'multigrid {tuple(grid)} needs a ResNet with as many blocks in its last '
            f'stage, got {"none" if blocks is None else len(blocks)}; () switches it off'
        )
    for block, factor in zip(blocks, grid, strict=True):
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (2 * factor, 2 * factor)


def batch_norms(backbone: nn.Module) -> list[nn.Module]:
    """Return the batch norms of a backbone."""
    return [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def freeze(backbone: Any, stem_stride: int = 0, batch_norm: bool = False) -> None:
    """Exclude parameters from training.

    Args:
        backbone: from `make_backbone`.
        stem_stride: freezes all layers up to the features of this stride; 0 freezes none.
        batch_norm: freezes scale and offset of every batch norm; the caller keeps the norms in
            eval mode.
    """
    if stem_stride:
        last = next(
            f['module'] for f in backbone.feature_info.get_dicts() if f['reduction'] == stem_stride
        )
        names = [name for name, _ in backbone.named_parameters()]
        # timm registers layers in the order in which they run.
        end = max(i for i, name in enumerate(names) if _belongs(name, last))
        for _, parameter in list(backbone.named_parameters())[: end + 1]:
            parameter.requires_grad_(False)
    if batch_norm:
        for norm in batch_norms(backbone):
            norm.requires_grad_(False)


def _belongs(parameter: str, module: str) -> bool:
    """Return whether the module holds the parameter; timm's wrappers join names by underscores."""
    return parameter.startswith((f'{module}.', f'{module.replace(".", "_")}.'))
