# SPDX-License-Identifier: Apache-2.0
"""Checks of an ONNX graph of unknown origin that run nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

STANDARD_DOMAINS = ('', 'ai.onnx', 'ai.onnx.ml')
"""Where operators come from that every engine knows, and that read no files."""


def check_graph(model: Any) -> None:
    """Checks that a graph is complete in itself.

    Args:
        model: an onnx.ModelProto.

    Raises:
        ValueError: if any part of it (a weight, an attribute, the body of a loop or a function)
            is kept in another file, or an operator is not ONNX's own.
    """
    import onnx

    domains = {*STANDARD_DOMAINS, *(function.domain for function in model.functions)}
    for part in _parts(model):
        if isinstance(part, onnx.TensorProto):
            if part.data_location == onnx.TensorProto.EXTERNAL or part.external_data:
                raise ValueError(
                    f'it keeps the values of {part.name!r} in another file; export it as one file'
                )
        elif isinstance(part, onnx.NodeProto) and part.domain not in domains:
            raise ValueError(
                f'its operator {part.op_type!r} of {part.domain!r} is not an ONNX '
                'operator; make model files with `panoptic export`'
            )


def check_weights(model: Any) -> None:
    """Checks that the weights can be read and have no NaN.

    Args:
        model: an onnx.ModelProto.

    Raises:
        ValueError: naming the first weight that is damaged.
    """
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except Exception as error:  # of many kinds, as the values can be stored in many ways
            raise ValueError(f'weight {tensor.name!r} is damaged: {error}') from None
        if values.dtype.kind == 'f' and np.isnan(values).any():
            raise ValueError(f'weight {tensor.name!r} has NaN; its training went wrong')


def _parts(message: Any) -> Iterator[Any]:
    """All tensors, nodes, graphs and other parts of a protobuf message, itself first.

    A walk over whatever fields there are, so that no place is left out in which a graph can hide
    another one.
    """
    yield message
    if message.DESCRIPTOR.name == 'TensorProto':
        return  # ListFields would copy the weights
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.name in (
            'TypeProto',
            'ValueInfoProto',
            'StringStringEntryProto',
        ):
            continue
        for part in [value] if hasattr(value, 'ListFields') else value:
            yield from _parts(part)
