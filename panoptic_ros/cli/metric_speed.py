# SPDX-License-Identifier: Apache-2.0
"""`panoptic benchmark --metrics`: what the scores of an evaluation cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.core.files import write_json

if TYPE_CHECKING:
    from panoptic_ros.benchmark.metrics import MetricCost


def run_metrics(height: int, width: int, seconds: float, json: Path | None) -> None:
    """Measures, prints the table and writes the JSON file.

    Raises:
        ImportError: without pycocotools.
    """
    from rich.console import Console
    from rich.progress import Progress

    from panoptic_ros.benchmark.metrics import time_metrics

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task('metrics', total=1.0)
        reference_ms, speeds = time_metrics(
            height, width, seconds, lambda done: progress.update(task, completed=done)
        )
    Console().print(table(reference_ms, speeds, f'{height}x{width}'))
    if json:
        write_json(records(reference_ms, speeds, f'{height}x{width}'), json)


def table(reference_ms: float, speeds: list[MetricCost], image: str) -> Any:
    """One row for each metric."""
    from rich import box
    from rich.table import Table

    from panoptic_ros.benchmark.metrics import FEW_FRAMES, MANY_FRAMES

    result = Table(
        title=f'a pair of {image} on one core; PQ and video have the pass over the '
        'pixels, the others not',
        title_justify='left',
        box=box.SIMPLE_HEAD,
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
    for speed in speeds:
        result.add_row(
            speed.name,
            f'{speed.frame_ms:.2f}',
            f'{speed.ratio:.3f}',
            f'{speed.kept_bytes / 1e3:.0f}',
            *(f'{value:.2f}' for value in speed.result_ms),
        )
    result.add_row('reference', f'{reference_ms:.2f}', '1')
    result.caption = 'reference: np.unique of all pixels, as in panopticapi'
    return result


def records(reference_ms: float, speeds: list[MetricCost], image: str) -> list[dict[str, Any]]:
    """A record for each metric, as plain values."""
    return [
        {
            'metric': speed.name,
            'image': image,
            'frame_ms': round(speed.frame_ms, 4),
            'ratio': round(speed.ratio, 5),
            'reference_ms': round(reference_ms, 4),
            'kept_bytes': round(speed.kept_bytes),
            'result_ms_per_frame': [round(value, 4) for value in speed.result_ms],
        }
        for speed in speeds
    ]
