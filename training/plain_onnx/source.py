# SPDX-License-Identifier: Apache-2.0
"""Reading of an ONNX file of another tool: one graph for one image of one size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from panoptic_ros.core.documents import parse_yaml
from panoptic_ros.core.model_file import METADATA_KEY
from panoptic_ros.core.model_info import MAX_INPUT_SIDE
from panoptic_ros.core.onnx_edit import inputs_of
from panoptic_ros.core.text import one_line, short
from panoptic_ros.runtime.onnxruntime_backend import open_session
from panoptic_ros.runtime.trial import color_chart

from .loading import load

INPUT_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8}

SIZE_DEPENDS = {'NonZero', 'NonMaxSuppression', 'Unique', 'Compress', 'Loop', 'SequenceAt'}
"""Operators whose results have a size that may depend on the image."""

MOVES = {'Identity', 'Reshape', 'Squeeze', 'Transpose', 'Unsqueeze'}
"""Operators that move values of any type."""

MAX_NAMES_CHARS = 1 << 16
"""Most characters of a metadata entry that is parsed; the names of 255 classes have 5000."""


class Value(NamedTuple):
    """Output of a network."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        sizes = ', '.join(map(str, self.shape))
        return f'{one_line(self.name)} ({sizes}) {self.dtype}'


@dataclass(frozen=True)
class InputSettings:
    """Input of a network: `(pixel * scale - mean) / std` in its layout; None is the default."""

    size: tuple[int, int] | None = None
    """(height, width), px."""

    order: str = 'rgb'
    """Order of the channels, rgb or bgr."""

    scale: float | None = None
    """Factor of pixels from 0 to 255."""

    mean: tuple[float, float, float] | None = None
    """R, G, B."""

    std: tuple[float, float, float] | None = None
    """R, G, B."""

    @property
    def normalizes(self) -> bool:
        """Whether a scale, mean or deviation is set."""
        return any(value is not None for value in (self.scale, self.mean, self.std))


@dataclass(frozen=True)
class Network:
    """Network of an ONNX file, for one image of one size."""

    path: Path
    model: onnx.ModelProto
    """Graph with its weights and fixed sizes, without functions."""

    input: str
    """Name of the input."""

    input_type: int
    """Type of the input, one of INPUT_TYPES."""

    takes_bytes: bool
    """Whether the file's input is uint8, so that the network normalises pixels itself."""

    channels_first: bool
    """Whether the input is (1, 3, H, W); otherwise it is (1, H, W, 3)."""

    input_size: tuple[int, int]
    """(height, width), px."""

    metadata: Mapping[str, str] = field(repr=False)
    """Texts of the file's metadata."""

    def run(self, feed: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return the outputs for an input in the network's own type and layout.

        Raises:
            ValueError: if ONNX Runtime cannot run the graph.
        """
        return run_graph(self.model, {self.input: feed}, self.path)

    def outputs(self, values: Sequence[npt.NDArray[Any]]) -> list[Value]:
        """Return the description of the outputs that `run` gave."""
        names = (output.name for output in self.model.graph.output)
        return [
            Value(name, value.dtype, value.shape)
            for name, value in zip(names, values, strict=True)
        ]

    def sample(self, settings: InputSettings) -> npt.NDArray[Any]:
        """Return a chart of colours as the network's input; the settings have all values."""
        scale, mean, std = settings.scale or 1, settings.mean or 0, settings.std or 1
        pixels = (color_chart(*self.input_size) * scale - np.array(mean)) / np.array(std)
        pixels = pixels[..., ::-1] if settings.order == 'bgr' else pixels
        batch = (np.moveaxis(pixels, 2, 0) if self.channels_first else pixels)[None]
        return np.ascontiguousarray(batch, helper.tensor_dtype_to_np_dtype(self.input_type))


def run_graph(
    model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]], path: Path
) -> list[npt.NDArray[Any]]:
    """Run a graph in ONNX Runtime on the CPU.

    Raises:
        ValueError: if it cannot; the message starts with the path.
    """
    try:
        results = open_session(model.SerializeToString(), 'cpu', None).run(None, dict(feeds))
    except Exception as error:  # pybind's own classes have no other common base
        raise ValueError(f'{path}: ONNX Runtime cannot run it: {one_line(error)}') from None
    if not all(isinstance(value, np.ndarray) for value in results):
        raise ValueError(f'{path}: its outputs must be tensors, got sequences or maps')
    return list(results)


def read_network(path: Path, size: tuple[int, int] | None = None) -> Network:
    """Read an ONNX file, with the files of its weights, and fix its input.

    Args:
        path: of the file.
        size: (height, width) for an input whose size is open; None takes `imgsz` of the metadata.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no ONNX file of ONNX's own operators, has other inputs than one image,
            or a size that does not fit.
    """
    model = load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY in metadata:
        raise ValueError(
            f'{path} is a model file of this package already; use it as it is, or '
            '`panoptic export --model` for other settings'
        )
    stored = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]  # ONNX before version 4 lists weights as inputs too
    model.graph.input.extend(images)
    inputs = list(model.graph.input)
    found = ', '.join(_shown(value) for value in inputs) or 'none'
    shape = list(inputs[0].type.tensor_type.shape.dim) if len(inputs) == 1 else []
    kind = inputs[0].type.tensor_type.elem_type if inputs else 0
    axis = next((i for i in (1, 3) if len(shape) == 4 and shape[i].dim_value == 3), None)
    if axis is None or kind not in INPUT_TYPES or shape[0].dim_value not in (0, 1):
        raise ValueError(
            f'{path} must have one input, an image (1, 3, H, W) or (1, H, W, 3) of float32, '
            f'float16 or uint8, got {found}'
        )
    sides = (2, 3) if axis == 1 else (1, 2)
    own = tuple(shape[i].dim_value or None for i in sides)
    height, width = _input_size(path, own, size, metadata)
    for i, length in zip((0, *sides), (1, height, width), strict=True):
        shape[i].dim_value = length
    takes_bytes = kind == TensorProto.UINT8
    if takes_bytes and _only_cast(model.graph, inputs[0].name):
        kind = inputs[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return Network(
        path,
        _with_known_sizes(model, path),
        inputs[0].name,
        kind,
        takes_bytes,
        axis == 1,
        (height, width),
        metadata,
    )


def _only_cast(graph: onnx.GraphProto, name: str) -> bool:
    """Return whether bytes are only moved and then cast, so that they can be floats already.

    TensorRT has no operations on bytes.
    """
    readers = [node for node in graph.node if name in inputs_of(node)]
    return bool(readers) and all(
        node.op_type == 'Cast' or (node.op_type in MOVES and _only_cast(graph, node.output[0]))
        for node in readers
    )


def _input_size(
    path: Path,
    own: Sequence[int | None],
    wanted: tuple[int, int] | None,
    metadata: Mapping[str, str],
) -> tuple[int, int]:
    """Return the input's (height, width): the graph's own, the wanted one or the metadata's."""
    chosen = wanted or (own if None not in own else _image_size(path, metadata))
    if chosen is None:
        raise ValueError(f'{path} takes images of any size; choose one with --input-size H W')
    for side, fixed in zip(chosen, own, strict=True):
        if fixed not in (None, side):
            raise ValueError(
                f'{path} takes images of {own[0] or "any"}x{own[1] or "any"} px, got '
                f'--input-size {chosen[0]} {chosen[1]}; leave it out or export the network again'
            )
    height, width = chosen
    if not (height and width and max(height, width) <= MAX_INPUT_SIDE):
        raise ValueError(f'{path}: sides of the input must be 1 to {MAX_INPUT_SIDE} px')
    return height, width


def _image_size(path: Path, metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Return `imgsz` of the metadata, [height, width]; None if there is none."""
    value = entry(path, metadata, 'imgsz')
    if value is None:
        return None
    sides = value if isinstance(value, list) else [value] * 2
    if len(sides) != 2 or not all(type(n) is int and n > 0 for n in sides):
        raise ValueError(
            f'{path}: metadata imgsz must be [height, width], got {short(value)}; choose a size '
            'with --input-size H W'
        )
    return sides[0], sides[1]


def entry(path: Path, metadata: Mapping[str, str], key: str) -> Any:
    """Return a metadata entry as a plain value, None if it is missing.

    Ultralytics writes literals of Python, such as `{0: 'car'}`; YAML reads them without running
    code.

    Raises:
        ValueError: if it is too long or not such a value.
    """
    text = metadata.get(key)
    if text is None:
        return None
    if len(text) > MAX_NAMES_CHARS:
        raise ValueError(f'{path}: metadata {key} is longer than {MAX_NAMES_CHARS} characters')
    return parse_yaml(text, f'{path}: metadata {key}')


def _with_known_sizes(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the graph with the sizes that follow from its input.

    Raises:
        ValueError: if the size of an output depends on the image.
    """
    # Sizes that the file gives its outputs count where they cannot be inferred: a file that pads
    # its results to a fixed number says so.
    given = {value.name: 0 not in _sizes(value) for value in model.graph.output}
    del model.graph.value_info[:]  # they hold the old sizes
    for output in model.graph.output:
        if output.type.HasField('tensor_type'):
            output.type.tensor_type.ClearField('shape')
    try:
        known = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception as error:  # of several types, as the graph may be wrong in many ways
        raise ValueError(f'{path}: the sizes in its graph do not fit: {one_line(error)}') from None
    for output in known.graph.output:
        makers = {node.op_type for node in _before(known.graph, output.name)}
        depends = sorted(makers & SIZE_DEPENDS)
        if depends and 0 in _sizes(output) and not given[output.name]:
            raise ValueError(
                f'{path}: the size of output {_shown(output)} depends on the image '
                f'({", ".join(depends)}), and engines need fixed sizes; export the network '
                'without selection or suppression of its boxes'
            )
    return known


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    """Return the sizes of an input or output; 0 stands for one that is not known."""
    tensor = value.type.tensor_type
    return [d.dim_value for d in tensor.shape.dim] if tensor.HasField('shape') else [0]


def _before(graph: onnx.GraphProto, output: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that an output needs."""
    needed = {output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(inputs_of(node))
            yield node


def _shown(value: onnx.ValueInfoProto) -> str:
    """Return an input or output as text; sizes that are not known are shown as `?`."""
    tensor = value.type.tensor_type
    sizes = ', '.join(str(size or '?') for size in _sizes(value))
    kinds = {number: kind.lower() for kind, number in TensorProto.DataType.items()}
    return f'{one_line(value.name)} ({sizes}) {kinds.get(tensor.elem_type, "?")}'
