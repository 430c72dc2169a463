# SPDX-License-Identifier: Apache-2.0
"""The model file: one ONNX graph with everything it needs to be run in its own metadata.

The graph takes `image` (H, W, 3) uint8 RGB and one float32 scalar per threshold, and gives the
`OUTPUTS`. Whoever holds the file needs no recipe, label file or settings beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.onnx_graph import check_graph

METADATA_KEY = 'panoptic_ros'
"""Key of the JSON document in the ONNX file's metadata_props."""

MAX_FILE_BYTES = 2 * 1024**3
"""ONNX's own limit of one protobuf file."""

MAX_METADATA_CHARS = 4 << 20
"""Longest metadata; those of 255 classes have 0.03 M."""

MAX_TEXT_CHARS = 500
"""Longest text in it: names are logged and published."""

MAX_INPUT_SIDE = 8192
"""Largest side of a network's input, px."""

MAX_NUMBER = 1e30
"""Largest number in the metadata; all fit into float32."""


class Outputs(NamedTuple):
    """What the graph returns for one image; S rows, row r describes segment id r + 1.

    Rows come in a fixed order and number; those with `valid` False mean nothing.
    """

    segment_map: npt.NDArray[np.int32]
    """(h, w) row + 1, or 0 for void, one cell per `stride` input pixels."""

    semantic_map: npt.NDArray[np.uint8]
    """(h, w) class id, VOID_ID for void."""

    class_id: npt.NDArray[np.int32]
    """(S,)"""

    score: npt.NDArray[np.float32]
    """(S,) in [0, 1]."""

    box: npt.NDArray[np.float32]
    """(S, 4) x1, y1, x2, y2 in cells, right and bottom exclusive."""

    centroid: npt.NDArray[np.float32]
    """(S, 2) mean (x, y) of the segment's cell centres, in cells."""

    area: npt.NDArray[np.int32]
    """(S,) cells."""

    embedding: npt.NDArray[np.float32]
    """(S, D)"""

    valid: npt.NDArray[np.bool_]
    """(S,)"""


OUTPUTS = Outputs._fields


@dataclass(frozen=True)
class Threshold:
    """A scalar input of the graph that may change while it runs."""

    default: float
    minimum: float
    maximum: float
    description: str

    def __post_init__(self) -> None:
        for name in ('default', 'minimum', 'maximum'):
            _require_number(name, getattr(self, name))
        _require_text('description', self.description)
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(
                f"a threshold's default must lie in {self.minimum} to "
                f'{self.maximum}, got {self.default}'
            )


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself."""

    name: str
    family: str
    labels: LabelSet

    input_size: tuple[int, int]
    """(height, width), px."""

    stride: int
    """Input pixels per cell of the decoded maps."""

    mean: tuple[float, float, float]
    """Subtracted inside the graph, RGB on a scale of 0 to 1."""

    std: tuple[float, float, float]
    """Divided by inside the graph, RGB on a scale of 0 to 1."""

    embedding_dim: int
    embedding_kind: str
    """What the embedding of a row is, e.g. `embedding at the instance's seed`."""

    thresholds: Mapping[str, Threshold]
    """Scalar inputs by name. `score_threshold` and `min_area` (input px) are always there."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments that build the family's module again."""

    recipe_hash: str = ''
    """SHA-256 of the training recipe; empty for untrained weights."""

    scores: Mapping[str, float] = field(default_factory=dict)
    """Validation scores, PQ in percent."""

    package_version: str = ''

    def __post_init__(self) -> None:
        for name in ('name', 'family', 'embedding_kind', 'recipe_hash', 'package_version'):
            _require_text(name, getattr(self, name))
        _require(isinstance(self.labels, LabelSet), 'labels must be a LabelSet', self.labels)
        for name in self.labels.names:
            _require_text('a class name', name)
        _require(_is_integer(self.stride, 1), 'stride must be a whole number from 1', self.stride)
        _require(
            len(self.input_size) == 2
            and all(_is_integer(n, 1, MAX_INPUT_SIDE) for n in self.input_size),
            f'input_size must be (height, width), 1 to {MAX_INPUT_SIDE} px',
            self.input_size,
        )
        _require(
            not any(n % self.stride for n in self.input_size),
            f'input_size must be multiples of the stride {self.stride}',
            self.input_size,
        )
        _require(
            len(self.mean) == 3 and all(_is_number(v, 0, 1) for v in self.mean),
            'mean must be three numbers from 0 to 1',
            self.mean,
        )
        _require(
            len(self.std) == 3 and all(_is_number(v, 0) and v > 0 for v in self.std),
            'std must be three numbers over 0',
            self.std,
        )
        _require(
            _is_integer(self.embedding_dim),
            'embedding_dim must be a whole number from 0',
            self.embedding_dim,
        )
        for name in ('thresholds', 'config', 'scores'):
            _require(
                isinstance(getattr(self, name), Mapping),
                f'{name} must be an object',
                getattr(self, name),
            )
        for name, value in self.thresholds.items():
            _require(
                isinstance(value, Threshold), f'threshold {name!r} must be a Threshold', value
            )
        for name, score in self.scores.items():
            _require_number(f'score {name!r}', score)
        missing = {'score_threshold', 'min_area'} - set(self.thresholds)
        if missing:
            raise ValueError(
                f'a model needs the thresholds score_threshold and min_area, '
                f'lacks {", ".join(sorted(missing))}'
            )


def _is_integer(value: Any, least: int = 0, most: float = MAX_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any, least: float = -MAX_NUMBER, most: float = MAX_NUMBER) -> bool:
    """Whether it is a number in a range; NaN and True are none."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (least <= value <= most)
    )


def _require(is_right: bool, rule: str, value: Any) -> None:
    if not is_right:
        raise ValueError(f'{rule}, got {repr(value)[:100]}')


def _require_number(name: str, value: Any) -> None:
    _require(_is_number(value), f'{name} must be a number', value)


def _require_text(name: str, value: Any) -> None:
    _require(
        isinstance(value, str) and len(value) <= MAX_TEXT_CHARS and value.isprintable(),
        f'{name} must be a line of at most {MAX_TEXT_CHARS} characters',
        value,
    )


class ModelFileError(ValueError):
    """A model file that cannot be used; the message says what is wrong with it."""


def info_to_json(info: ModelInfo) -> str:
    """The document that `write_model_file` puts into the file."""
    return json.dumps(
        {
            **vars(info),
            'labels': info.labels.to_dicts(),
            'thresholds': {name: vars(value) for name, value in info.thresholds.items()},
        },
        sort_keys=True,
    )


def info_from_json(text: str) -> ModelInfo:
    """Inverse of `info_to_json`.

    Raises:
        ModelFileError: naming the first thing that is missing or wrong.
    """
    if len(text) > MAX_METADATA_CHARS:
        raise ModelFileError(
            f'metadata {METADATA_KEY!r} is longer than {MAX_METADATA_CHARS} characters'
        )
    try:
        values = parse_json(text, f'metadata {METADATA_KEY!r}')
    except ValueError as error:
        raise ModelFileError(str(error)) from None
    if not isinstance(values, dict):
        raise ModelFileError(f'metadata {METADATA_KEY!r} is not a JSON object')
    required = {
        name
        for name in ModelInfo.__dataclass_fields__
        if name not in ('config', 'recipe_hash', 'scores', 'package_version')
    }
    missing = required - set(values)
    if missing:
        raise ModelFileError(f'metadata lacks {", ".join(sorted(missing))}')
    unknown = set(values) - set(ModelInfo.__dataclass_fields__)
    if unknown:
        raise ModelFileError(
            f'metadata has unknown entries {", ".join(sorted(unknown))}; '
            'the file may come from a newer version of this package'
        )
    try:
        values['labels'] = LabelSet.from_dicts(values['labels'])
        values['thresholds'] = {
            name: Threshold(**value) for name, value in values['thresholds'].items()
        }
        for name in ('input_size', 'mean', 'std'):
            values[name] = tuple(values[name])
        return ModelInfo(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f'metadata is damaged: {" ".join(str(error).split())}') from None


def write_model_file(model: Any, info: ModelInfo, path: Path) -> None:
    """Writes an ONNX graph and its metadata as one file; the path is whole or untouched.

    Args:
        model: an onnx.ModelProto with its weights inside.
        info: what the file is to say of itself.
        path: ends in .onnx.
    """
    import onnx

    onnx.helper.set_model_props(model, {METADATA_KEY: info_to_json(info)})
    write_bytes(model.SerializeToString(), path)


def load_onnx(path: Path) -> Any:
    """Parses a model file without running anything in it.

    Returns:
        An onnx.ModelProto.

    Raises:
        ModelFileError: if the file is missing, empty, too large, not ONNX, keeps any part of it in
            other files, or has operators that are not ONNX's.
    """
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f'no model file at {path}')
    size = path.stat().st_size
    if not 0 < size < MAX_FILE_BYTES:
        raise ModelFileError(f'{path} has {size} bytes, expected 1 to {MAX_FILE_BYTES - 1}')
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        check_graph(model)
    except DecodeError:
        raise ModelFileError(f'{path} is not an ONNX file, or is cut short') from None
    except ValueError as error:
        raise ModelFileError(f'{path}: {error}') from None
    return model


def read_info(path: Path) -> ModelInfo:
    """Reads what a model file says of itself, and checks that its graph agrees.

    Raises:
        ModelFileError: in one line that starts with the path.
    """
    return info_of(load_onnx(path), path)


def info_of(model: Any, path: Path) -> ModelInfo:
    """What an onnx.ModelProto from `path` says of itself; see `read_info`."""
    from onnx import TensorProto

    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ModelFileError(
            f'{path}: no metadata {METADATA_KEY!r}; make model files with `panoptic export`'
        )
    try:
        info = info_from_json(texts[METADATA_KEY])
    except ModelFileError as error:
        raise ModelFileError(f'{path}: {error}') from None
    inputs = {
        value.name: (
            value.type.tensor_type.elem_type,
            *(d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in model.graph.input
    }
    expected = {
        'image': (TensorProto.UINT8, *info.input_size, 3),
        **dict.fromkeys(info.thresholds, (TensorProto.FLOAT,)),
    }
    if inputs != expected:
        raise ModelFileError(
            f'{path}: graph inputs (type, sizes) must be {expected}, got {inputs}'
        )
    outputs = tuple(value.name for value in model.graph.output)
    if outputs != OUTPUTS:
        raise ModelFileError(f'{path}: graph outputs must be {OUTPUTS}, got {outputs}')
    return info


def file_hash(path: Path) -> str:
    """First 12 hex digits of the file's SHA-256, enough to tell model files apart."""
    with Path(path).open('rb') as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]
