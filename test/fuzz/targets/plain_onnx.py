# SPDX-License-Identifier: Apache-2.0
"""ONNX files of other tools: their bytes, metadata and graphs."""

import sys
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import onnx

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from fuzz.targets.models import change_graph
from panoptic_training.plain_onnx.joining import named_graph
from panoptic_training.plain_onnx.part import Source, read_part

sys.path.insert(0, str(Path(__file__).parents[2] / 'helpers'))

from plain_networks import planted, write_network

FILE = 'network.onnx'
NAMES = ('car', "driver's dog", 'person')
SIZE = (32, 64)
OPSET = 18


@cache
def original() -> bytes:
    """Return a small network with the outputs of YOLO."""
    path = Path('original.onnx').absolute()
    box, prob, coefficients, maps = planted(SIZE, classes=len(NAMES), count=12)
    table = np.concatenate([box, prob, coefficients], axis=1).T[None]
    metadata = {'names': str(dict(enumerate(NAMES))), 'imgsz': str(list(SIZE))}
    write_network(path, {'output0': table, 'output1': maps[None]}, size=SIZE, metadata=metadata)
    data = path.read_bytes()
    path.unlink()
    return data


def make(rng: Random) -> Case:
    kind = rng.random()
    if kind < 0.05:
        return Case({FILE: original()}, {'intact': True})
    if kind < 0.3:
        return Case({FILE: rng.choice((mutate.some_bytes, mutate.cut))(rng, original())})
    model = onnx.load_model_from_string(original())
    try:
        if kind < 0.5:
            entry = rng.choice(model.metadata_props)
            data = mutate.some_bytes(rng, entry.value.encode())
            entry.value = rng.choice((data.decode('utf-8', 'replace'), "os.mkdir('canary')"))
        else:
            for _ in range(rng.choice((1, 1, 2))):
                change_graph(rng, model)
        return Case({FILE: model.SerializeToString(deterministic=True)})
    except (ValueError, UnicodeError, onnx.checker.ValidationError):  # no longer a graph
        return Case({FILE: original()})


def check(case: Case, folder: Path) -> None:
    """Read a network; its classes must be those of its channels, and its graph one to run."""
    part = read_part(Source(folder / FILE, 'yolo-seg'))
    labels, channels = part.classes
    if part.match.channels != len(labels) or channels != tuple(range(len(labels))):
        raise Wrong(f'classes: {len(labels)} for {part.match.channels} channels')
    if case.truth.get('intact') and labels.names != NAMES:
        raise Wrong(f'classes: {labels.names}, expected {NAMES}')
    table, prototypes = part.samples
    if table.shape[1] != 4 + len(labels) + prototypes.shape[1]:
        raise Wrong(f'outputs: {table.shape} and {prototypes.shape} for {len(labels)} classes')
    graph = named_graph(part, 0, OPSET).graph
    if not all(node.output[0].startswith('network0/') for node in graph.node):
        raise Wrong('graph: a value has no prefix')


TARGETS = (Target('plain_onnx', make, check, (ValueError, OSError)),)
