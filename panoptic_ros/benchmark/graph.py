# SPDX-License-Identifier: Apache-2.0
"""A model file's graph: times of network and decoding, and the number of its operations.

Export names the outputs of the network's last layers `maps_*`. What they need is the network, and
the rest is decoding.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_file import info_from_onnx, load_onnx
from panoptic_ros.runtime import Backend, BackendError
from panoptic_ros.runtime.batch import graph_feed
from panoptic_ros.runtime.cpu_graph import rewrite_for_cpu
from panoptic_ros.runtime.gpu import gpu_index
from panoptic_ros.runtime.roi_align import replace_roi_align
from panoptic_ros.runtime.tensorrt_library import PORTABLE, import_library

LEAST_RUNS = 3
"""Smallest number of profiled images."""

WARM_UP = 2
"""Images that fill caches and buffers before the timing starts."""

MAX_RUNS = 50
"""Largest number of profiled images; the records of 50 take 20 MB for the packaged model."""

Network = Callable[[npt.NDArray[np.uint8]], object]
"""Runs the network without decoding on an image of the network's input size."""


class GraphTimes(NamedTuple):
    """Times of the two parts of a graph on one thread, sums over their operations."""

    network_ms: npt.NDArray[np.float64]
    """(images,)"""

    decode_ms: npt.NDArray[np.float64]
    """(images,)"""


def network_ends(model: Any) -> list[str]:
    """Return the names of the network's outputs; empty if the file does not name them."""
    return [name for node in model.graph.node for name in node.output if name.startswith('maps_')]


def network_alone(path: Path, backend: Backend, threads: int | None) -> Network | None:
    """Return the part of a model file up to the inputs of decoding.

    Args:
        path: the model file.
        backend: backend that runs it.
        threads: CPU threads; None for all cores.

    Returns:
        The network, or None if the file does not name its end or the backend is not ONNX Runtime.
    """
    engine, _, provider = backend.name.partition('/')
    model = load_onnx(path)
    ends = network_ends(model)
    if engine != 'onnxruntime' or not ends:
        return None
    from onnx.utils import Extractor

    from panoptic_ros.runtime.onnxruntime_backend import open_session

    part = Extractor(model).extract_model(['image'], ends)
    session = open_session(
        part.SerializeToString(),
        provider,
        gpu_index(backend.device),
        backend.precision,
        None,
        threads,
    )
    return lambda pixels: session.run(ends, {'image': pixels})


def time_graph(
    path: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    thresholds: Mapping[str, float],
    seconds: float,
) -> GraphTimes | None:
    """Time each operation of a graph in ONNX Runtime on one thread of the CPU.

    Args:
        path: the model file.
        images: (H, W, 3) uint8 RGB of the input size, used in turn; each fills all places of a
            batch.
        thresholds: a value for each of the model's thresholds.
        seconds: time to spend; at least LEAST_RUNS images are processed.

    Returns:
        The times, or None if the file does not name the end of its network.
    """
    import onnx
    import onnxruntime as ort

    from panoptic_ros.runtime.onnxruntime_backend import session_options

    model = load_onnx(path)
    ends = network_ends(model)
    if not ends:
        return None
    info = info_from_onnx(model, path)
    rewrite_for_cpu(model)
    outputs = [value.name for value in model.graph.output]
    # As outputs, these values remain when ONNX Runtime merges operations.
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ends)
    feeds = [graph_feed(info, image, thresholds) for image in images]
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads=1)
        options.enable_profiling = True
        options.profile_file_prefix = f'{folder}/profile'
        options.optimized_model_filepath = f'{folder}/merged.onnx'
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )
        merged = onnx.load(options.optimized_model_filepath).graph
        count, start = 0, time.perf_counter()
        while count < WARM_UP + LEAST_RUNS or (
            count < MAX_RUNS and time.perf_counter() - start < seconds
        ):
            session.run(outputs, feeds[count % len(feeds)])
            count += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding='utf-8'))
    times = _sum_by_run(events, _before(merged, ends), {node.name for node in merged.node})
    return GraphTimes(*times[WARM_UP:].T)


def _before(graph: Any, ends: Sequence[str]) -> set[str]:
    """Return the names of the nodes that the given values need."""
    needed, names = set(ends), set()
    for node in reversed(graph.node):  # sorted, so that a node follows those that it needs
        if needed.intersection(node.output):
            needed.update(node.input)
            names.add(node.name)
    return names


def _sum_by_run(
    events: list[dict[str, Any]], network: set[str], top_level: set[str]
) -> npt.NDArray[np.float64]:
    """Sum the times of the nodes of each run.

    Args:
        events: ONNX Runtime's profile.
        network: names of the network's nodes.
        top_level: names of all nodes but those inside loops, whose time the loops include.

    Returns:
        (runs, 2) ms of network and decoding.
    """
    runs = sorted((e['ts'], e['ts'] + e['dur']) for e in events if e['name'] == 'model_run')
    ends = np.array([end for _, end in runs])
    sums = np.zeros((len(runs), 2))
    for event in events:
        node = event['name'].removesuffix('_kernel_time')
        if event['cat'] == 'Node' and node in top_level and node != event['name']:
            sums[np.searchsorted(ends, event['ts']), 0 if node in network else 1] += event['dur']
    return sums / 1e3


def count_nodes(path: Path) -> int:
    """Return the number of a graph's operations; constants do not count."""
    return sum(node.op_type != 'Constant' for node in load_onnx(path).graph.node)


def count_layers(path: Path) -> int | None:
    """Return the number of layers that TensorRT's parser makes of a graph, without constants.

    Returns:
        The number; None if TensorRT-RTX, whose parser needs no GPU, is not installed or does not
        accept the graph.
    """
    model = load_onnx(path)
    try:
        library = import_library(PORTABLE)
        replace_roi_align(model)
    except (BackendError, ValueError):
        return None
    trt = library.module
    builder = trt.Builder(library.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(model.SerializeToString()):
        return None
    layers = map(network.get_layer, range(network.num_layers))
    return sum(layer.type != trt.LayerType.CONSTANT for layer in layers)
