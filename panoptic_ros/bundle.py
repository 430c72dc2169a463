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

from panoptic_ros.files import write_bytes
from panoptic_ros.labels import LabelSet

METADATA_KEY = 'panoptic_ros'
"""Key of the JSON document in the ONNX file's metadata_props."""

MAX_FILE_BYTES = 2 * 1024**3
"""ONNX's own limit of one protobuf file."""


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
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(f'a threshold\'s default must lie in {self.minimum} to '
                             f'{self.maximum}, got {self.default}')


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
        missing = {'score_threshold', 'min_area'} - set(self.thresholds)
        if missing:
            raise ValueError(f'a model needs the thresholds score_threshold and min_area, '
                             f'lacks {", ".join(sorted(missing))}')
        if any(n < self.stride or n % self.stride for n in self.input_size):
            raise ValueError(f'input_size must be multiples of the stride {self.stride}, '
                             f'got {self.input_size}')


class BundleError(ValueError):
    """A model file that cannot be used; the message says what is wrong with it."""


def info_to_json(info: ModelInfo) -> str:
    """The document that `write_bundle` puts into the file."""
    return json.dumps({
        **vars(info), 'labels': info.labels.to_dicts(),
        'thresholds': {name: vars(value) for name, value in info.thresholds.items()},
    }, sort_keys=True)


def info_from_json(text: str) -> ModelInfo:
    """Inverse of `info_to_json`.

    Raises:
        BundleError: naming the first thing that is missing or wrong.
    """
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise BundleError(f'metadata {METADATA_KEY!r} is not a JSON object: {error}') from None
    required = {name for name, spec in ModelInfo.__dataclass_fields__.items()
                if name not in ('config', 'recipe_hash', 'scores', 'package_version')}
    missing = required - set(values)
    if missing:
        raise BundleError(f'metadata lacks {", ".join(sorted(missing))}')
    unknown = set(values) - set(ModelInfo.__dataclass_fields__)
    if unknown:
        raise BundleError(f'metadata has unknown entries {", ".join(sorted(unknown))}; '
                          'the file may come from a newer version of this package')
    try:
        values['labels'] = LabelSet.from_dicts(values['labels'])
        values['thresholds'] = {name: Threshold(**value)
                                for name, value in values['thresholds'].items()}
        for name in ('input_size', 'mean', 'std'):
            values[name] = tuple(values[name])
        return ModelInfo(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleError(f'metadata is damaged: {error}') from None


def write_bundle(model: Any, info: ModelInfo, path: Path) -> None:
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
        BundleError: if the file is missing, empty, too large, not ONNX, or keeps weights in
            other files.
    """
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if not path.is_file():
        raise BundleError(f'no model file at {path}')
    size = path.stat().st_size
    if not 0 < size < MAX_FILE_BYTES:
        raise BundleError(f'{path} has {size} bytes, expected 1 to {MAX_FILE_BYTES - 1}')
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise BundleError(f'{path} is not an ONNX file, or is cut short') from None
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise BundleError(f'{path} keeps weights in other files; export it as one file')
    return model


def read_info(path: Path) -> ModelInfo:
    """Reads what a model file says of itself, and checks that its graph agrees.

    Raises:
        BundleError: in one line that starts with the path.
    """
    model = load_onnx(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise BundleError(f'{path}: no metadata {METADATA_KEY!r}; make model files with '
                          '`panoptic export`')
    try:
        info = info_from_json(texts[METADATA_KEY])
    except BundleError as error:
        raise BundleError(f'{path}: {error}') from None
    inputs = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
              for value in model.graph.input}
    expected = {'image': (*info.input_size, 3), **dict.fromkeys(info.thresholds, ())}
    if inputs != expected:
        raise BundleError(f'{path}: graph inputs must be {expected}, got {inputs}')
    outputs = tuple(value.name for value in model.graph.output)
    if outputs != OUTPUTS:
        raise BundleError(f'{path}: graph outputs must be {OUTPUTS}, got {outputs}')
    return info


def file_hash(path: Path) -> str:
    """First 12 hex digits of the file's SHA-256, enough to tell model files apart."""
    with Path(path).open('rb') as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]
