# SPDX-License-Identifier: Apache-2.0
"""Loading of an ONNX file of another tool with all its weights; nothing in the graph is run."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor
from onnx.inliner import inline_local_functions

from panoptic_ros.core.inputs import kind_of, require_file
from panoptic_ros.core.model_file import MAX_FILE_BYTES
from panoptic_ros.core.onnx_graph import check_graph, check_weights, external_tensors
from panoptic_ros.core.text import one_line, short


def load(path: Path) -> onnx.ModelProto:
    """Read a graph with its weights, without running anything in it; see `read_network`."""
    require_file(path, 'an ONNX file')
    if path.stat().st_size >= MAX_FILE_BYTES:
        raise ValueError(
            f'{path} has {path.stat().st_size} bytes, expected {MAX_FILE_BYTES - 1} at most'
        )
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        other = kind_of(data)
        raise ValueError(
            f'{path} is {f"{other}, expected" if other else "not"} an ONNX file'
            f'{"" if other else ", or is truncated"}'
        ) from None
    if not model.graph.node or not model.opset_import:
        raise ValueError(f'{path} is not an ONNX file: it has no operators')
    try:
        _read_external(model, path)
        check_graph(model)
        check_weights(model)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return _without_functions(model, path) if model.functions else model


def _without_functions(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return a graph with the nodes of its own functions in place of their calls."""
    try:
        return inline_local_functions(model)
    except Exception as error:  # of several types, as functions may be wrong in many ways
        raise ValueError(f'{path}: its functions are damaged: {one_line(error)}') from None


def _read_external(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that are in other files, which must lie in the folder of the ONNX file."""
    folder = path.parent.resolve()
    total = path.stat().st_size
    for tensor in external_tensors(model):
        what = f'the weight {short(tensor.name)}'
        info = ExternalDataInfo(tensor)
        file = (folder / info.location).resolve()
        if not info.location or not file.is_relative_to(folder):
            raise ValueError(f'{what} is outside the folder of the file: {short(info.location)}')
        if not file.is_file():
            raise FileNotFoundError(
                f'{path}: {what} is in {short(info.location)}, which is not beside it; copy that '
                'file too'
            )
        rest = file.stat().st_size - (info.offset or 0)
        length = rest if info.length is None else info.length
        if not 0 <= length <= rest:
            raise ValueError(f'{what} needs {length} bytes of {file.name}, which has {rest} left')
        total += length
        if total >= MAX_FILE_BYTES:
            raise ValueError(f'graph and weights take more than {MAX_FILE_BYTES - 1} bytes')
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except onnx.checker.ValidationError as error:
            raise ValueError(f'{what} cannot be read: {one_line(error)}') from None
