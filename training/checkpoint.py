# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of trainings: safe reading, finite weights, models and initial weights from them."""

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from panoptic_ros.core.inputs import require_file
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.text import one_line, short
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.registry import rebuild

logger = logging.getLogger(__name__)


class NonFiniteError(ValueError):
    """Weights or a loss that hold NaN or infinity."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the plain values and tensors of a checkpoint, without running anything in it.

    Raises:
        ValueError: for a file that is not a checkpoint of a training, is truncated or damaged.
        NonFiniteError: for weights that are not finite.
    """
    with path.open('rb') as file:
        try:
            with zipfile.ZipFile(file) as archive:  # torch itself does not check the checksums
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
            file.seek(0)
            checkpoint: dict[str, Any] = torch.load(file, map_location='cpu', weights_only=True)
            checkpoint['state_dict'].items(), checkpoint['hyper_parameters'].items()
            name = non_finite_weight(checkpoint)
        except Exception:  # its type depends on what the file holds instead
            raise ValueError(
                f'{path} is not a checkpoint of `panoptic train`, or it is cut off or damaged'
            ) from None
    if name:
        raise NonFiniteError(_not_finite(name, path))
    return checkpoint


def load_checkpoint(path: Path) -> tuple[PanopticModel, dict[str, Any]]:
    """Build the model of a checkpoint.

    Returns:
        the model in eval mode with the checkpoint's weights, and the checkpoint itself.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is not a checkpoint of this package.
    """
    require_file(path, 'a checkpoint')
    checkpoint = read_checkpoint(path)
    settings = checkpoint['hyper_parameters']
    try:
        model = rebuild(
            settings['family'], LabelSet.from_dicts(settings['labels']), settings['network']
        )
        height, width = settings['input_size']
        model.check_input_size((height, width))
        model.load_state_dict(model_weights(checkpoint))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f'{path} does not fit this version: {one_line(error)}') from None
    model.renormalize()  # averaging makes unit vectors shorter
    return model.eval(), checkpoint


def load_pretrained(model: nn.Module, path: str | Path) -> None:
    """Load initial weights, and log how many tensors were loaded.

    Args:
        model: a family's module.
        path: a `.safetensors` file with the backbone's weights under timm's names, which must
            hold all of the backbone's tensors; further ones (a classifier) are ignored. Or a
            `.ckpt` of an earlier training, of which all tensors of the same name and shape are
            loaded; the others (of other classes) keep their random values.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for weights that do not fit this model.
        NonFiniteError: for weights that are not finite.
    """
    path = Path(path)
    require_file(path, 'a file for init_weights')
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise ValueError(f'{path} is not a safetensors file: {one_line(error)}') from None
        require_finite(tensors, path)
        _load_backbone(backbone_of(model), tensors, path)
    else:
        _load_matching(model, model_weights(read_checkpoint(path)), path)


def model_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the family's module in a checkpoint, averaged ones if it has them."""
    return {
        key.removeprefix('model.'): value
        for key, value in checkpoint['state_dict'].items()
        if key.startswith('model.')
    }


def backbone_of(model: nn.Module) -> nn.Module:
    """Return the timm network in a family's model: its submodule called `backbone`."""
    for name, module in model.named_modules():
        if name.rpartition('.')[2] == 'backbone':
            return module
    raise ValueError(f'{type(model).__name__} has no backbone to load weights into')


def non_finite_weight(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the name of a checkpoint's first weight, averaged or not, with NaN or infinity."""
    return find_non_finite(checkpoint['state_dict']) or find_non_finite(
        checkpoint.get('current_model_state', {})
    )


def find_non_finite(tensors: Mapping[str, Any]) -> str | None:
    """Return the name of the first floating-point tensor with NaN or infinity, None for none."""
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
    """Refuse weights that hold NaN or infinity.

    Raises:
        NonFiniteError: naming the source and the weight.
    """
    if name := find_non_finite(tensors):
        raise NonFiniteError(_not_finite(name, source))


def _not_finite(name: str, source: object) -> str:
    return (
        f'{source}: the weight {short(name)} holds NaN or infinity; take a checkpoint from before '
        'the training diverged'
    )


def _load_backbone(backbone: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = {
        k: v for k, v in backbone.state_dict().items() if not k.endswith('num_batches_tracked')
    }
    # Where timm extracts features between stages, as of Swin, `layers.0` is called `layers_0`.
    flat = {re.sub(r'^(\w+)\.(\d+)\.', r'\1_\2.', k): v for k, v in tensors.items()}
    tensors = {**tensors, **{k: flat[k] for k in wanted if k not in tensors and k in flat}}
    wrong = [k for k, v in wanted.items() if k not in tensors or tensors[k].shape != v.shape]
    if wrong:
        raise ValueError(
            f'{path} does not fit the backbone: {len(wrong)} of {len(wanted)} '
            f'tensors are missing or of another shape, e.g. {wrong[0]!r}'
        )
    backbone.load_state_dict({k: tensors[k] for k in wanted}, strict=False)
    unused = sorted({k.split('.')[0] for k in set(tensors) - set(backbone.state_dict())})
    logger.info(
        '%s: loaded all %d backbone tensors; left out: %s',
        path.name,
        len(wanted),
        ', '.join(unused) or 'none',
    )


def _load_matching(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    matching = {k: v for k, v in tensors.items() if k in wanted and wanted[k].shape == v.shape}
    if not any('backbone' in k for k in matching):
        raise ValueError(f"{path} holds no weights for this model's backbone")
    model.load_state_dict(matching, strict=False)
    fresh = sorted(set(wanted) - set(matching))
    logger.info(
        '%s: loaded %d of %d tensors; fresh: %s',
        path.name,
        len(matching),
        len(wanted),
        ', '.join(fresh) or 'none',
    )
