# SPDX-License-Identifier: Apache-2.0
"""Tables and records of the measured times."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from panoptic_ros.benchmark.cameras import CamerasTimes
from panoptic_ros.benchmark.graph import GraphTimes
from panoptic_ros.benchmark.metrics import FEW_FRAMES, MANY_FRAMES, MetricCost
from panoptic_ros.benchmark.peer import PEER, PeerTimes
from panoptic_ros.benchmark.pipeline import PipelineTimes
from panoptic_ros.node.stages import Stage

CAMERA_COLUMNS = ('camera', 'received', 'published', 'dropped', 'p50_ms', 'p95_ms', 'max_ms')
"""Columns of the table of cameras."""

MOST_CHARS = 10_000
"""Width at which no table wraps."""


def pipeline_tables(
    reports: Sequence[PipelineTimes], image_size: str, console: Console
) -> Iterator[Table]:
    """Yield tables with as many models side by side as the console has room for."""
    options = console.options.update(width=MOST_CHARS)
    while reports:
        for count in range(len(reports), 0, -1):
            table = pipeline_table(reports[:count], image_size)
            if console.measure(table, options=options).maximum <= console.width:
                break
        yield table
        reports = reports[count:]


def pipeline_table(reports: Sequence[PipelineTimes], image_size: str) -> Table:
    """Make a table with a column per model and a row per stage: p50 / p95 in ms."""
    result = Table(
        'ms: p50 / p95',
        title=f'camera image {image_size}',
        title_justify='left',
        box=box.SIMPLE_HEAD,
    )
    for report in reports:
        height, width = report.info.input_size
        result.add_column(
            f'{report.info.name}\n{height}x{width}\n{report.backend}\n{report.device}',
            justify='right',
        )
    times = [report.stages_ms for report in reports]
    for stage in (one.key for one in Stage):
        if any(stage in t for t in times):
            result.add_row(stage, *(_percentiles(t[stage]) if stage in t else '' for t in times))
    total = Stage.TOTAL.key
    result.add_row(
        'all but the model', *(_percentiles(t[total] - t[Stage.INFER.key]) for t in times)
    )
    graphs = [report.graph for report in reports]
    for name in GraphTimes._fields if any(graphs) else ():
        part = name.removesuffix('_ms')
        result.add_row(
            f'{part}, one thread', *(_percentiles(getattr(g, name)) if g else '' for g in graphs)
        )
    # Computed per image: medians do not give the ratio on a busy machine.
    result.add_row(
        'decode : network',
        *(f'{np.median(g.decode_ms / g.network_ms):.2f}' if g else '' for g in graphs),
    )
    result.add_row('operations', *(str(report.nodes) for report in reports))
    if any(report.layers for report in reports):
        result.add_row('TensorRT layers', *(str(report.layers or '') for report in reports))
    result.add_row('images', *(str(len(t[total])) for t in times))
    result.add_row('rate, Hz', *(f'{report.rate_hz:.1f}' for report in reports))
    result.add_row('peak memory, MB', *(f'{report.peak_bytes / 1e6:.0f}' for report in reports))
    return result


def pipeline_notes(reports: list[PipelineTimes]) -> list[str]:
    """Return the notes that readers of the table need, one line each."""
    return [
        f'{report.info.name} on the CPU: {report.fallback_reason}'
        for report in reports
        if report.fallback_reason
    ]


def pipeline_records(report: PipelineTimes) -> list[dict[str, Any]]:
    """Return a record for each stage of a model and for both parts of its graph."""
    height, width = report.info.input_size
    parts = report.graph._asdict() if report.graph else {}
    times = {
        **report.stages_ms,
        **{f'{name.removesuffix("_ms")}, one thread': values for name, values in parts.items()},
    }
    return [
        {
            'model': report.info.name,
            'backend': report.backend,
            'device': report.device,
            'input': f'{height}x{width}',
            'operations': report.nodes,
            'tensorrt_layers': report.layers,
            'stage': stage,
            **_p50_p95(values),
        }
        for stage, values in times.items()
    ]


def peer_line(times: PeerTimes) -> str:
    """Return the result of a comparison with the peer."""
    height, width = times.info.input_size
    return (
        f'network alone at {height}x{width} on one thread: {times.info.name} '
        f'{np.median(times.own_ms):.1f} ms in ONNX Runtime, {PEER} '
        f'{np.median(times.peer_ms):.1f} ms in PyTorch, {times.ratio:.1f} times as long'
    )


def peer_records(times: PeerTimes) -> list[dict[str, Any]]:
    """Return a record for each of the two networks, as plain values."""
    height, width = times.info.input_size
    return [
        {
            'model': model,
            'backend': backend,
            'device': 'cpu',
            'input': f'{height}x{width}',
            'operations': None,
            'tensorrt_layers': None,
            'stage': 'network alone, one thread',
            **_p50_p95(values),
        }
        for model, backend, values in (
            (times.info.name, 'onnxruntime/cpu', times.own_ms),
            (PEER, 'torch/eager', times.peer_ms),
        )
    ]


def cameras_table(times: CamerasTimes, image_size: str) -> Table:
    """Make a table with a row per camera: counts of its images, and latencies in ms."""
    result = Table(
        title=f'{times.info.name} on {times.backend}, {times.device}: '
        f'{len(times.cameras)} cameras of {image_size} at {times.rate_hz:g} Hz',
        title_justify='left',
        box=box.SIMPLE_HEAD,
    )
    records = cameras_records(times, image_size)
    for heading in CAMERA_COLUMNS:
        result.add_column(
            heading.replace('_', ' '), justify='left' if heading == 'camera' else 'right'
        )
    for record in records:
        result.add_row(*(str(record[heading]) for heading in CAMERA_COLUMNS))
    return result


def cameras_records(times: CamerasTimes, image_size: str) -> list[dict[str, Any]]:
    """Return a record for each camera; its latencies are None if no image was processed."""
    return [
        {
            'model': times.info.name,
            'backend': times.backend,
            'device': times.device,
            'image': image_size,
            'rate_hz': times.rate_hz,
            'camera': camera.name,
            'received': camera.counts.received,
            'published': camera.counts.published,
            'dropped': sum(camera.counts.dropped.values()),
            **{
                f'{name}_ms': round(float(np.percentile(camera.latency_ms, q)), 2)
                if len(camera.latency_ms)
                else None
                for name, q in (('p50', 50), ('p95', 95), ('max', 100))
            },
        }
        for camera in times.cameras
    ]


def metrics_table(reference_ms: float, costs: list[MetricCost], image_size: str) -> Table:
    """Make a table with a row per metric."""
    result = Table(
        title=f'a pair of {image_size} on one core; PQ and video include the pass over the '
        'pixels, the others do not',
        title_justify='left',
        box=box.SIMPLE_HEAD,
        caption='reference: np.unique of all pixels, as in panopticapi',
    )
    result.add_column('metric', no_wrap=True)
    for heading in (
        'frame, ms',
        ': reference',
        'kept, kB/frame',
        f'result, ms/frame:\nof {FEW_FRAMES} frames',
        f'\nof {MANY_FRAMES}',
    ):
        result.add_column(heading, justify='right')
    for cost in costs:
        result.add_row(
            cost.name,
            f'{cost.frame_ms:.2f}',
            f'{cost.ratio:.3f}',
            f'{cost.kept_bytes / 1e3:.0f}',
            *(f'{value:.2f}' for value in cost.result_ms),
        )
    result.add_row('reference', f'{reference_ms:.2f}', '1')
    return result


def metrics_records(
    reference_ms: float, costs: list[MetricCost], image_size: str
) -> list[dict[str, Any]]:
    """Return a record for each metric, as plain values."""
    return [
        {
            'metric': cost.name,
            'image': image_size,
            'frame_ms': round(cost.frame_ms, 4),
            'ratio': round(cost.ratio, 5),
            'reference_ms': round(reference_ms, 4),
            'kept_bytes': round(cost.kept_bytes),
            'result_ms_per_frame': [round(value, 4) for value in cost.result_ms],
        }
        for cost in costs
    ]


def _p50_p95(values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {f'p{q}_ms': round(float(np.percentile(values, q)), 4) for q in (50, 95)}


def _percentiles(values: Any) -> str:
    """Return p50 / p95 with two digits."""
    return '{:.2f} / {:.2f}'.format(*np.percentile(values, (50, 95)))
