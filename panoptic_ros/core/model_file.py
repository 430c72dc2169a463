# SPDX-License-Identifier: Apache-2.0
"""Model files: an ONNX graph whose metadata holds all that is needed to run it.

The graph takes `image` (H, W, 3) uint8 RGB and one float32 scalar per threshold, and returns the
`OUTPUTS`; that of a batch of N images takes (N, H, W, 3) and (N,), and returns stacked outputs.
The `ModelInfo` is a JSON document in the graph's metadata, so that a model file needs no recipe,
label file or settings beside it.
"""

import hashlib
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.inputs import CHECKPOINT, kind_of, require_file
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_info import OUTPUTS, ModelInfo, Scaling, Threshold
from panoptic_ros.core.onnx_graph import check_graph
from panoptic_ros.core.reference import Reference, reference_from_text, reference_to_text
from panoptic_ros.core.text import one_line

METADATA_KEY = 'panoptic_ros'
"""Key of the JSON document in the ONNX file's metadata_props."""

REFERENCE_KEY = 'panoptic_ros_reference'
"""Key of the reference answer, a JSON document beside the other."""

MAX_FILE_BYTES = 2 * 1024**3
"""Limit of a file's size, ONNX's own limit of one protobuf file."""

MAX_METADATA_CHARS = 4 << 20
"""Maximum length of the JSON document; that of 255 classes has 0.03 million characters."""


class ModelFileError(ValueError):
    """A model file that cannot be used; the message says why."""


def info_to_json(info: ModelInfo) -> str:
    """Return the JSON document that `write_model_file` puts into the file."""
    return json.dumps(
        {
            **vars(info),
            'labels': info.labels.to_dicts(),
            'thresholds': {name: vars(value) for name, value in info.thresholds.items()},
            'calibration': {name: vars(value) for name, value in info.calibration.items()},
        },
        sort_keys=True,
    )


def info_from_json(text: str) -> ModelInfo:
    """Parse the document that `info_to_json` makes.

    Raises:
        ModelFileError: if an entry is missing, unknown or has a wrong value; names it.
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
        field.name
        for field in fields(ModelInfo)
        if field.default is MISSING and field.default_factory is MISSING
    }
    missing = required - set(values)
    if missing:
        raise ModelFileError(f'metadata lacks {", ".join(sorted(missing))}')
    unknown = set(values) - set(ModelInfo.__dataclass_fields__)
    if unknown:
        raise ModelFileError(
            f'metadata has unknown entries {one_line(", ".join(sorted(unknown)))}; '
            'the file may come from a newer version of this package'
        )
    try:
        values['labels'] = LabelSet.from_dicts(values['labels'])
        values['thresholds'] = {
            name: Threshold(**value) for name, value in values['thresholds'].items()
        }
        values['calibration'] = {
            name: Scaling(**value) for name, value in values.get('calibration', {}).items()
        }
        for name in ('input_size', 'mean', 'std'):
            values[name] = tuple(values[name])
        return ModelInfo(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f'metadata is damaged: {one_line(error)}') from None


def require_model_name(path: Path) -> None:
    """Refuse a name for a new model file that does not end in .onnx.

    Raises:
        ValueError: says what came.
    """
    if path.suffix != '.onnx':
        raise ValueError(f'a model file ends in .onnx, got {path.name}')


def write_model_file(
    model: Any, info: ModelInfo, path: Path, reference: Reference | None = None
) -> None:
    """Write an ONNX graph and its metadata as one file, atomically.

    Args:
        model: an onnx.ModelProto that holds its weights.
        info: the model's description.
        path: of the new file; ends in .onnx.
        reference: answer that engines are compared with when they open the file.
    """
    import onnx

    onnx.helper.set_model_props(model, _documents(info, reference))
    write_bytes(model.SerializeToString(), path)


def append_metadata(path: Path, info: ModelInfo, reference: Reference | None) -> None:
    """Append the metadata to the file of an ONNX graph that has none.

    The parts of a serialised message may follow each other in any number, so that the graph need
    not be in memory.
    """
    import onnx

    part = onnx.ModelProto()
    onnx.helper.set_model_props(part, _documents(info, reference))
    with path.open('ab') as file:
        file.write(part.SerializeToString())


def _documents(info: ModelInfo, reference: Reference | None) -> dict[str, str]:
    documents = {METADATA_KEY: info_to_json(info)}
    if reference is not None:
        documents[REFERENCE_KEY] = reference_to_text(reference)
    return documents


def load_onnx(path: Path) -> Any:
    """Parse a model file without running anything in it.

    Returns:
        An onnx.ModelProto.

    Raises:
        ModelFileError: if the file is missing, empty, too large or not ONNX, refers to other
            files, or has operators that are not ONNX's own.
    """
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if str(path).startswith(CHECKPOINT):
        raise ModelFileError(
            f'{path} is a checkpoint, expected a model file; '
            f'`panoptic export --from {path} -o model.onnx` makes one'
        )
    try:
        require_file(path, 'a model file')
    except (OSError, ValueError) as error:
        raise ModelFileError(str(error)) from None
    size = path.stat().st_size
    if size >= MAX_FILE_BYTES:
        raise ModelFileError(f'{path} has {size} bytes, expected {MAX_FILE_BYTES - 1} at most')
    data = path.read_bytes()
    if other := kind_of(data):  # the parser accepts the first bytes of some kinds
        raise ModelFileError(
            f'{path} is {other}, expected an ONNX file'
            + ('; `panoptic export --checkpoint` makes one' if 'checkpoint' in other else '')
        )
    try:
        model = onnx.load_model_from_string(data)
        check_graph(model)
    except DecodeError:
        raise ModelFileError(f'{path} is not an ONNX file, or is truncated') from None
    except ValueError as error:
        raise ModelFileError(f'{path}: {error}') from None
    return model


def read_info(path: Path) -> ModelInfo:
    """Read the description of a model, and check that the file's graph agrees with it.

    Raises:
        ModelFileError: if the file cannot be read, or its graph has other inputs or outputs than
            the metadata says; the message starts with the path.
    """
    return info_from_onnx(load_onnx(path), path)


def info_from_onnx(model: Any, path: Path) -> ModelInfo:
    """Return the description in an onnx.ModelProto that was read from `path`; see `read_info`."""
    from onnx import TensorProto

    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ModelFileError(
            f'{path}: no metadata {METADATA_KEY!r}; make model files with `panoptic export`, of a '
            'network of another tool with --from onnx:FILE --format FORMAT'
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
        'image': (TensorProto.UINT8, *info.image_shape),
        **dict.fromkeys(info.thresholds, (TensorProto.FLOAT, *info.threshold_shape)),
    }
    if inputs != expected:
        raise ModelFileError(
            f'{path}: graph inputs (type, sizes) must be {expected}, got {one_line(inputs)}'
        )
    outputs = tuple(value.name for value in model.graph.output)
    if outputs not in (OUTPUTS, OUTPUTS[:-1]):  # version 0.1.0 had no confidence
        raise ModelFileError(f'{path}: graph outputs must be {OUTPUTS}, got {one_line(outputs)}')
    return info


def reference_from_onnx(model: Any, info: ModelInfo, path: Path) -> Reference | None:
    """Return the reference answer in an onnx.ModelProto; None if an earlier version wrote it.

    Raises:
        ModelFileError: if it is damaged; the message starts with the path.
    """
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if REFERENCE_KEY not in texts:
        return None
    try:
        return reference_from_text(texts[REFERENCE_KEY], info)
    except ValueError as error:
        raise ModelFileError(
            f'{path}: metadata {REFERENCE_KEY!r} is damaged: {one_line(error)}'
        ) from None


def file_hash(path: Path) -> str:
    """Return the first 12 hex digits of a file's SHA-256, enough to identify a model file."""
    with Path(path).open('rb') as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]
