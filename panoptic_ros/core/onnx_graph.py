# SPDX-License-Identifier: Apache-2.0
"""Checks of ONNX graphs of unknown origin; nothing in the graph is run."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from panoptic_ros.core.text import one_line, short

TRANSPOSED = '.transposed'
"""End of the name of a weight that the graph stores transposed."""

STANDARD_DOMAINS = ('', 'ai.onnx', 'ai.onnx.ml')
"""Domains of ONNX's own operators, which every engine supports and which read no files."""


def check_graph(model: Any) -> None:
    """Check that a graph needs no other file and no operator of another origin.

    Args:
        model: an onnx.ModelProto.

    Raises:
        ValueError: if a part of the graph (a weight, an attribute, the body of a loop or a
            function) is in another file, or an operator is not ONNX's own.
    """
    import onnx

    domains = {*STANDARD_DOMAINS, *(function.domain for function in model.functions)}
    for tensor in external_tensors(model):
        raise ValueError(
            f'the values of {short(tensor.name)} are in another file; export it as one file'
        )
    for part in _parts(model):
        if isinstance(part, onnx.NodeProto) and part.domain not in domains:
            raise ValueError(
                f'operator {short(part.op_type)} of {short(part.domain)} is not an ONNX '
                "operator; export the network with ONNX's own operators only"
            )


def external_tensors(model: Any) -> Iterator[Any]:
    """Yield the onnx.TensorProto of an onnx.ModelProto whose values are in another file."""
    import onnx

    for part in _parts(model):
        if isinstance(part, onnx.TensorProto) and (
            part.data_location == onnx.TensorProto.EXTERNAL or part.external_data
        ):
            yield part


def check_weights(model: Any) -> None:
    """Check that the weights can be read and have no NaN.

    Args:
        model: an onnx.ModelProto.

    Raises:
        ValueError: if a weight is damaged; names the first one.
    """
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except Exception as error:  # of many types, since ONNX has many ways to store values
            raise ValueError(
                f'weight {short(tensor.name)} is damaged: {one_line(error)}'
            ) from None
        if values.dtype.kind == 'f' and np.isnan(values).any():
            raise ValueError(f'weight {short(tensor.name)} has NaN; its training failed')


def _parts(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages inside it: graphs, nodes, tensors and others.

    The walk covers every field, so that no place is missed in which a graph can contain another.
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
