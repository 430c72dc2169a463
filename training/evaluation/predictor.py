# SPDX-License-Identifier: Apache-2.0
"""Predictors of model files and of training checkpoints."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.registry import build_model, rebuild
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.gpu import gpu_index
from panoptic_ros.runtime.load import load
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.runtime.torch_backend import load_weights, merge_norms

from ..checkpoint import load_checkpoint
from ..export import require_finite_maps
from ..module_backend import ModuleBackend, model_info


def open_predictor(path: Path, backend: str = 'auto', device: str = 'auto') -> Predictor:
    """Open a model file on a backend, or the module of a checkpoint in torch.

    Args:
        path: `.ckpt` is a checkpoint, anything else a model file.
        backend: see `open_backend`; for a checkpoint `auto` or `torch`.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        ValueError: if the file is invalid, or a backend other than torch is asked for a
            checkpoint.
        OSError: if the file cannot be read.
        BackendError: if the backend or the device is not available.
    """
    if path.suffix != '.ckpt':
        return load(path, backend, device)
    if backend not in ('auto', 'torch', 'torch/eager'):
        raise ValueError(
            'a checkpoint is scored with torch; make a model file of it with '
            f'`panoptic export` for the backend {backend}'
        )
    has_gpu = torch.cuda.is_available()
    index = gpu_index(
        'cuda' if device == 'auto' and has_gpu else 'cpu' if device == 'auto' else device
    )
    if index is not None and not has_gpu:
        raise BackendError(f'torch {torch.__version__} finds no GPU, but the device is {device}')
    model, checkpoint = load_checkpoint(path)
    settings = checkpoint['hyper_parameters']
    input_size = tuple(settings['input_size'])
    require_finite_maps(model, input_size)
    return Predictor(
        ModuleBackend(model if index is None else model.to(f'cuda:{index}')),
        model_info(model, input_size, path.stem, settings.get('recipe_hash', '')),
    )


def module_of(predictor: Predictor, path: Path) -> PanopticModel:
    """Return the module that a predictor runs.

    Args:
        predictor: of a checkpoint, or a model file of a family that is trained here.
        path: path of that file. The graph of a model file returns segments only, so its module
            is built again to run beside it.
    """
    model = getattr(predictor.backend, 'model', None)
    if isinstance(model, PanopticModel):
        return model
    model = build_model(predictor.info)
    load_weights(model, path)
    return model.eval()


def at_stride(predictor: Predictor, path: Path, stride: int) -> Predictor:
    """Return the same model with another stride of decoding, in torch on the CPU or its GPU.

    Args:
        predictor: see `module_of`.
        path: path of its file.
        stride: 1, 2 or 4 input pixels per cell.

    Raises:
        ValueError: if the network is no module of this package, or its weights are quantised.
    """
    module = module_of(predictor, path)
    config = {**module.config_dict(), 'stride': stride}
    state = module.state_dict()
    other = rebuild(module.family, module.labels, config)
    merge_norms(other, state)
    other.load_state_dict(state)
    device = next(module.parameters()).device
    info = replace(predictor.info, stride=stride, config=other.config_dict())
    return Predictor(ModuleBackend(other.eval().to(device)), info)


def describe_run(predictor: Predictor) -> dict[str, Any]:
    """Return model, backend and device, as `scores.json` lists them."""
    info, backend = predictor.info, predictor.backend
    return {
        'model': info.name,
        'recipe_hash': info.recipe_hash,
        'backend': backend.name,
        'device': backend.device,
        'input_size': info.input_size,
        'stride': info.stride,
    }
