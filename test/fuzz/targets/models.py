# SPDX-License-Identifier: Apache-2.0
"""Model files: their bytes, metadata and graphs."""

import base64
import json
import sys
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from fuzz.targets.yaml_files import as_truth
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.model_file import METADATA_KEY, info_to_json, read_info
from panoptic_ros.core.reference import reference_from_text, reference_to_text
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.load import load
from panoptic_ros.runtime.self_check import agreement, make_reference
from panoptic_ros.runtime.trial import color_chart

sys.path.insert(0, str(Path(__file__).parents[2] / 'helpers'))

from tiny_model import LABELS, make_tiny_model, paint_scene, tiny_graph, tiny_info

FILE = 'model.onnx'
SIZE = (16, 32)


@cache
def original() -> bytes:
    """Return the tiny model, which recognises colours."""
    path = Path('original.onnx').absolute()
    make_tiny_model(path, SIZE)
    data = path.read_bytes()
    path.unlink()
    return data


def case_of(model: Any, document: str | None = None, **truth: Any) -> Case:
    if document is not None:
        onnx.helper.set_model_props(model, {METADATA_KEY: document})
    return Case({FILE: model.SerializeToString(deterministic=True)}, truth)


# Bytes -----------------------------------------------------------------------------------------


def make_bytes(rng: Random) -> Case:
    kind = rng.random()
    if kind < 0.05:
        return Case({FILE: original()}, {'intact': True})
    if kind < 0.2:
        return Case({FILE: mutate.cut(rng, original())})
    return Case({FILE: mutate.some_bytes(rng, original())})


# Metadata --------------------------------------------------------------------------------------


def make_metadata(rng: Random) -> Case:
    document = json.loads(info_to_json(tiny_info(SIZE)))
    model, kind = onnx.load_model_from_string(original()), rng.random()
    if kind < 0.05:
        return case_of(model, json.dumps(document), intact=True)
    if kind < 0.7:
        try:
            text = json.dumps(mutate.value(rng, document), ensure_ascii=rng.random() < 0.9)
        except (RecursionError, ValueError):
            text = '{}'
    else:
        data = mutate.some_bytes(rng, json.dumps(document).encode())
        text = data.decode('utf-8', 'replace')
    try:
        return case_of(model, text)
    except UnicodeError:
        return case_of(model, '')


def check_metadata(case: Case, folder: Path) -> None:
    info = read_info(folder / FILE)
    model = onnx.load_model_from_string(case.files[FILE])
    texts = {entry.key: entry.value for entry in model.metadata_props}
    stated = json.loads(texts[METADATA_KEY])
    found = json.loads(info_to_json(info))
    for ours, entry in zip(found.pop('labels'), stated.pop('labels'), strict=True):
        for key, value in ours.items():
            wanted = entry.get(key, ours['class_id'])
            wanted = as_truth(wanted) if key == 'is_thing' else wanted
            if value != wanted or (key != 'class_id' and type(value) is not type(wanted)):
                raise Wrong(f'class: {key} is {value!r}, the file says {wanted!r}')
    for key, value in stated.items():
        if json.dumps(found[key], sort_keys=True) != json.dumps(value, sort_keys=True):
            raise Wrong(f'metadata: {key} is {found[key]!r}, the file says {value!r}')


# Reference answers -----------------------------------------------------------------------------


@cache
def reference_document() -> dict[str, Any]:
    """Return the reference of the tiny model for a chart of colours."""
    info = tiny_info(SIZE)
    made = make_reference(tiny_graph(info).SerializeToString(), info, color_chart(24, 48))
    assert made is not None
    document: dict[str, Any] = json.loads(reference_to_text(made))
    return document


def make_reference_document(rng: Random) -> Case:
    document, kind = reference_document(), rng.random()
    if kind < 0.05:
        return Case({FILE: json.dumps(document).encode()}, {'intact': True})
    if kind < 0.4:
        data = zlib.decompress(base64.b85decode(document['data']))
        data = zlib.compress(rng.choice((mutate.some_bytes, mutate.cut))(rng, data))
        document = {**document, 'data': base64.b85encode(data).decode()}
        return Case({FILE: json.dumps(document).encode()})
    if kind < 0.8:
        try:
            text = json.dumps(mutate.value(rng, document), ensure_ascii=rng.random() < 0.9)
        except (RecursionError, ValueError):
            text = '{}'
        return Case({FILE: text.encode('utf-8', 'replace')})
    return Case({FILE: mutate.some_bytes(rng, json.dumps(document).encode())})


def check_reference(case: Case, folder: Path) -> None:
    """Read a reference; its maps must fit the model, and their ids the rows."""
    info = tiny_info(SIZE)
    found = reference_from_text((folder / FILE).read_bytes().decode('utf-8', 'replace'), info)
    cells = tuple(n // info.stride for n in info.input_size)
    if found.segment_map.shape != cells or found.semantic_map.shape != cells:
        raise Wrong(f'reference: maps of {found.segment_map.shape}, expected {cells}')
    if found.segment_map.max() >= len(found.class_of):
        raise Wrong('reference: the map has ids without a row')
    shares = agreement(found, found)
    if case.truth.get('intact') and shares != (1, 1):
        raise Wrong(f'reference: it agrees with itself by {shares}')


# Graphs ----------------------------------------------------------------------------------------

TYPES = tuple(onnx.TensorProto.DataType.values())
OPERATORS = (
    'Add',
    'Identity',
    'Slice',
    'Gather',
    'If',
    'Loop',
    'Cast',
    'NonZero',
    'Own',
    'Reshape',
)


def make_graph(rng: Random) -> Case:
    info = tiny_info(SIZE)
    model = tiny_graph(info)
    document = info_to_json(info)
    if rng.random() < 0.05:
        return case_of(model, document, intact=True)
    for _ in range(rng.choice((1, 1, 2))):
        change_graph(rng, model)
    try:
        return case_of(model, document)
    except (ValueError, UnicodeError):
        return case_of(tiny_graph(info), document)


def change_graph(rng: Random, model: Any) -> None:
    graph = model.graph
    node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
    value, kind = rng.choice([*graph.input, *graph.output]), rng.randrange(16)
    if kind == 0:
        node.op_type = rng.choice(OPERATORS)
    elif kind == 1:
        node.domain = rng.choice(('com.microsoft', 'ai.onnx.ml', 'own', 'com.microsoft.nchwc'))
    elif kind == 2 and node.input:
        names = [*(n for other in graph.node for n in other.output), *node.output, 'nothing', '']
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == 3:
        graph.node.remove(node)
    elif kind == 4:
        graph.node.append(node)
    elif kind == 5:
        tensor.dims.append(rng.choice((0, 1, 2, -1, 10**9)))
    elif kind == 6:
        tensor.data_type = rng.choice(TYPES)
    elif kind == 7:
        tensor.raw_data = mutate.some_bytes(rng, tensor.raw_data)
    elif kind == 8:
        array = numpy_helper.to_array(tensor).copy()
        array[...] = (
            np.array(rng.choice((0, -1, 1, 2, 127, 3e8, 1e30)), np.float64).astype(
                array.dtype, casting='unsafe'
            )
            if array.dtype.kind == 'f'
            else rng.choice((0, 1, 2, 3, 5, 100))
        )
        if array.dtype.kind == 'f' and rng.random() < 0.3:
            array[...] = np.nan
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif kind == 9:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, text in (
            ('location', rng.choice(('/etc/passwd', '../outside', 'x'))),
            ('length', '9'),
        ):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text
    elif kind == 10:
        value.type.tensor_type.elem_type = rng.choice(TYPES)
    elif kind == 11:
        dims = value.type.tensor_type.shape.dim
        if dims:
            rng.choice(dims).dim_value = rng.choice((0, 1, 7, -1, 2**40))
    elif kind == 12:
        value.name = rng.choice(('x', '', 'image', 'score'))
    elif kind == 13 and node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.i = rng.choice((0, 1, -1, 7, 2**40, -(2**63)))
        attribute.type = rng.choice((attribute.type, onnx.AttributeProto.FLOAT))
    elif kind == 14:
        model.opset_import[0].version = rng.choice((0, 1, 11, 17, 99, -1))
        model.ir_version = rng.choice((3, model.ir_version, 99))
    else:
        entry = model.functions.add()
        entry.name, entry.domain = rng.choice((('Own', 'own'), ('Add', ''), ('f', 'own')))
        entry.node.append(node)


def check_model(case: Case, folder: Path) -> None:
    """Load a model and predict an image; what is returned must be a frame."""
    model = load(folder / FILE, 'onnxruntime', 'cpu', threads=1)
    frame = model.predict(paint_scene(40, 60))
    known = set(frame.segments['segment_id'].tolist()) | {0}
    if not set(np.unique(frame.segment_map).tolist()) <= known:
        raise Wrong('frame: the map has ids without a row')
    if not set(np.unique(frame.semantic_map).tolist()) <= {
        *range(len(model.info.labels)),
        VOID_ID,
    }:
        raise Wrong('frame: the map has classes that the model does not have')
    if not np.isfinite(frame.segments['score']).all():
        raise Wrong('frame: a score is not finite')
    if case.truth.get('intact') and len(frame.segments) < len(LABELS):
        raise Wrong('frame: segments are missing')


def check_bytes(case: Case, folder: Path) -> None:
    read_info(folder / FILE)  # most of the changes are found here, without an engine
    check_model(case, folder)


TARGETS = (
    Target('model_bytes', make_bytes, check_bytes, (ValueError, OSError, BackendError)),
    Target('model_metadata', make_metadata, check_metadata),
    Target('model_reference', make_reference_document, check_reference),
    Target('model_graph', make_graph, check_model, (ValueError, OSError, BackendError)),
)
