"""Layers that the exporter writes as operators which older engines lack, written out instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18 as op


def layer_norm(x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5, cudnn_enable: bool = True) -> Any:
    """`torch.nn.functional.layer_norm`."""
    axes: Any = op.Constant(value_ints=list(range(-len(normalized_shape), 0)))
    centred = op.Sub(x, op.ReduceMean(x, axes))
    variance = op.ReduceMean(op.Mul(centred, centred), axes)
    y = op.Div(centred, op.Sqrt(op.Add(variance, op.Constant(value_float=eps))))
    y = y if weight is None else op.Mul(y, weight)
    return y if bias is None else op.Add(y, bias)


def gelu(x: Any, approximate: str = 'none') -> Any:
    """`torch.nn.functional.gelu`, by the error function or by tanh."""
    half, one = op.Constant(value_float=0.5), op.Constant(value_float=1.0)
    if approximate == 'none':
        bent = op.Erf(op.Mul(x, op.Constant(value_float=math.sqrt(0.5))))
    else:
        cube = op.Mul(op.Mul(x, x), op.Mul(x, op.Constant(value_float=0.044715)))
        bent = op.Tanh(op.Mul(op.Add(x, cube), op.Constant(value_float=math.sqrt(2 / math.pi))))
    return op.Mul(op.Mul(x, half), op.Add(bent, one))


WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.layer_norm.default: layer_norm,
    torch.ops.aten.gelu.default: gelu,
}
"""For `torch.onnx.export`: TensorRT 8.5 has neither LayerNormalization nor Gelu."""
