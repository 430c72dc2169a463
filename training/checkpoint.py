# SPDX-License-Identifier: Apache-2.0
"""Where a training starts from."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.registry import build

logger = logging.getLogger(__name__)


def backbone_of(model: nn.Module) -> nn.Module:
    """The timm network inside a family's model: its submodule called `backbone`."""
    for name, module in model.named_modules():
        if name.rpartition('.')[2] == 'backbone':
            return module
    raise ValueError(f'{type(model).__name__} has no backbone to load weights into')


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads initial weights and says how many.

    Args:
        model: a family's module.
        path: a `.safetensors` file with the backbone's weights under timm's names: each of the
            backbone's tensors must be in it, what it has beyond them (a classifier) is left out.
            Or a `.ckpt` of an earlier training: each tensor of the same name and shape is
            loaded, those that differ (other classes) start afresh.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the weights are not for this model, or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'init_weights: no file {path}')
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(path)
        except SafetensorError as error:
            raise ValueError(f'{path} is not a safetensors file: {error}') from None
        require_finite(found, path)
        _load_backbone(backbone_of(model), found, path)
    else:
        _load_matching(model, model_weights(read_checkpoint(path)), path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The plain values and tensors of a checkpoint; nothing in it is run.

    Raises:
        ValueError: if the file is no checkpoint of a training, cut off or damaged, or if its
            weights are not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the check sums
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        checkpoint: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
        checkpoint['state_dict'].items(), checkpoint['hyper_parameters'].items()
    except OSError:
        raise
    except Exception:  # of many kinds, by what the file is instead
        raise ValueError(
            f'{path} is not a checkpoint of `panoptic train`, or it is cut off or damaged'
        ) from None
    if name := non_finite_weight(checkpoint):
        raise NonFiniteError(_not_finite(name, path))
    return checkpoint


class NonFiniteError(ValueError):
    """Weights or a loss that are not finite."""


def non_finite_weight(checkpoint: Mapping[str, Any]) -> str | None:
    """Name of the first weight of a checkpoint, averaged or not, that holds NaN or infinity."""
    return find_non_finite(checkpoint['state_dict']) or find_non_finite(
        checkpoint.get('current_model_state', {})
    )


def find_non_finite(tensors: Mapping[str, Any]) -> str | None:
    """Name of the first floating-point tensor that holds NaN or infinity; None if none does."""
    return next(
        (
            name
            for name, value in tensors.items()
            if isinstance(value, Tensor)
            and value.is_floating_point()
            and not value.isfinite().all()
        ),
        None,
    )


def require_finite(tensors: Mapping[str, Any], source: object) -> None:
    """Refuses weights of which one holds NaN or infinity.

    Raises:
        NonFiniteError: with the source and the weight's name.
    """
    if name := find_non_finite(tensors):
        raise NonFiniteError(_not_finite(name, source))


def _not_finite(name: str, source: object) -> str:
    return (
        f'{source}: the weight {name!r} holds NaN or infinity; take a checkpoint from before '
        'the training diverged'
    )


def model_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The family's module's own weights in a checkpoint; averaged ones if the training did so."""
    return {
        key.removeprefix('model.'): value
        for key, value in checkpoint['state_dict'].items()
        if key.startswith('model.')
    }


def _load_backbone(backbone: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    wanted = {
        k: v for k, v in backbone.state_dict().items() if not k.endswith('num_batches_tracked')
    }
    # Where timm takes features between stages, as of Swin, `layers.0` is called `layers_0`.
    flat = {re.sub(r'^(\w+)\.(\d+)\.', r'\1_\2.', k): v for k, v in found.items()}
    found = {**found, **{k: flat[k] for k in wanted if k not in found and k in flat}}
    wrong = [k for k, v in wanted.items() if k not in found or found[k].shape != v.shape]
    if wrong:
        raise ValueError(
            f'{path} does not fit the backbone: {len(wrong)} of {len(wanted)} '
            f'tensors are missing or of another shape, e.g. {wrong[0]!r}'
        )
    backbone.load_state_dict({k: found[k] for k in wanted}, strict=False)
    unused = sorted({k.split('.')[0] for k in set(found) - set(backbone.state_dict())})
    logger.info(
        '%s: loaded all %d backbone tensors; left out: %s',
        path.name,
        len(wanted),
        ', '.join(unused) or 'none',
    )


def _load_matching(model: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    fitting = {k: v for k, v in found.items() if k in wanted and wanted[k].shape == v.shape}
    if not any('backbone' in k for k in fitting):
        raise ValueError(f"{path} holds no weights for this model's backbone")
    model.load_state_dict(fitting, strict=False)
    fresh = sorted(set(wanted) - set(fitting))
    logger.info(
        '%s: loaded %d of %d tensors; fresh: %s',
        path.name,
        len(fitting),
        len(wanted),
        ', '.join(fresh) or 'none',
    )


def load_checkpoint(path: Path) -> tuple[PanopticModel, dict[str, Any]]:
    """The module of a training checkpoint, and the checkpoint's plain values.

    Raises:
        ValueError: if the file is no checkpoint of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    checkpoint = read_checkpoint(path)
    settings = checkpoint['hyper_parameters']
    try:
        model = build(
            settings['family'], LabelSet.from_dicts(settings['labels']), **settings['network']
        )
        height, width = settings['input_size']
        model.check_input_size((height, width))
        model.load_state_dict(model_weights(checkpoint))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f'{path} does not fit this version: {error}') from None
    model.renormalize()  # the average of unit vectors is shorter
    return model.eval(), checkpoint
