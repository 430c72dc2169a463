# SPDX-License-Identifier: Apache-2.0
"""Diagrams of the report, as SVG for embedding into HTML."""

import io
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.replay.frame_records import FrameRecord, Track, tracks_of

WIDTH_IN = 10.5
"""Width of a diagram, inches."""

BINS = 400
"""Most points of a line; each shows the mean of the images in its bin."""

MAX_TRACKS = 40
"""Most rows of the timeline; tracks with id switches have priority, then the longest tracks."""

STAGE_COLORS = {
    'read': '#eed3b5',
    'pre': '#60daff',
    'infer': '#0982ff',
    'post': '#95c467',
    'track': '#f4b500',
    'messages': '#892cba',
    'publish': '#935037',
}
"""Colours of the palette, and so easy to tell apart."""

INK, GREY, BLUE, ORANGE = '#20303c', '#9aa5b1', '#2f6f9f', '#e69f00'
"""Colours of lines, of different brightness, so that colour-blind people can tell them apart."""

RED = '#c62828'
"""Colour of id switches, which also have a shape of their own."""

MAX_SECONDS = 10**6
"""Longest recording whose rate is plotted; in a longer one the clock has jumped."""


def latency_plot(records: Sequence[FrameRecord]) -> str:
    """Plot the stacked times of the stages of each image over time."""
    timed = [record for record in records if record.times_ms]
    if not timed:
        return ''
    stages = [stage for stage in timed[0].times_ms if stage != 'total']
    times = _seconds(timed, records)
    rows = np.array([[record.times_ms[stage] for stage in stages] for record in timed])
    figure, axes = _figure(2.4)
    if stages:
        binned_t, binned = _bin(times, rows)
        axes.stackplot(
            binned_t,
            binned.T,
            labels=stages,
            linewidth=0,
            colors=[STAGE_COLORS.get(stage, GREY) for stage in stages],
        )
    total = np.array([[record.times_ms['total']] for record in timed])
    binned_t, binned = _bin(times, total)
    axes.plot(binned_t, binned[:, 0], color=INK, linewidth=0.8, label='total')
    p95 = float(np.percentile(total, 95))
    axes.axhline(p95, color=INK, linewidth=0.8, linestyle='--', label=f'p95 {p95:.0f} ms')
    _limit(axes, max(p95 * 1.6, 1e-3), total[:, 0], 'ms')  # one slow image would flatten the rest
    axes.set_ylabel('latency, ms')
    _name_bins(axes, len(timed))
    return _svg(figure, axes)


def rate_plot(records: Sequence[FrameRecord]) -> str:
    """Plot images and results per second, in windows of one second."""
    times = np.maximum(_seconds(records, records), 0)  # messages may be out of order
    full_s = int(times.max(initial=0))  # without the last, incomplete second
    if not 2 <= full_s <= MAX_SECONDS:
        return ''
    good = np.array([not record.problem and not record.stale for record in records])
    figure, axes = _figure(1.8)
    middles = np.arange(full_s) + 0.5
    image_counts = np.bincount(times.astype(int))[:full_s]
    for chosen, label, color, width in (
        (slice(None), 'images of the bag', GREY, 5),  # is seen behind the other line
        (good, 'with a result', BLUE, 1.6),
    ):
        counts = np.bincount(times[chosen].astype(int), minlength=full_s)[:full_s]
        axes.plot(
            middles,
            counts,
            color=color,
            label=label,
            linewidth=width,
            marker='o' if len(middles) < 20 else None,
            markersize=3,
        )
    timed = [record for record in records if record.times_ms]
    if timed:
        binned_t, binned = _bin(
            _seconds(timed, records), np.array([[record.times_ms['total']] for record in timed])
        )
        alone_hz = 1e3 / np.maximum(binned[:, 0], 1e-3)
        axes.plot(
            binned_t,
            alone_hz,
            color=ORANGE,
            linewidth=0.8,
            linestyle='--',
            label='1 / latency:\nthis machine alone',
        )
        top = 1.6 * max(float(np.median(alone_hz)), image_counts.max())
        _limit(axes, top, alone_hz, '/s for 1 / latency')
    axes.set_ylabel('images/s of the bag')
    return _svg(figure, axes)


def quality_plot(records: Sequence[FrameRecord]) -> str:
    """Plot PQ of each image over time, and id switches; empty without ground truth."""
    scored = [record for record in records if record.pq is not None]
    if not scored:
        return ''
    figure, axes = _figure(1.8)
    times, values = _bin(_seconds(scored, records), np.array([[record.pq] for record in scored]))
    axes.plot(times, values[:, 0], color=BLUE, linewidth=1.2, label='PQ of the image')
    _name_bins(axes, len(scored))
    switched = [record for record in records if record.switches]
    if switched:
        axes.plot(
            _seconds(switched, records),
            np.full(len(switched), 2.0),
            'v',
            color=RED,
            markersize=6,
            label='id switch',
            linestyle='none',
        )
    axes.set_ylim(0, 102)
    axes.set_ylabel('PQ, %')
    return _svg(figure, axes)


def timeline(records: Sequence[FrameRecord], labels: LabelSet) -> tuple[str, int, int]:
    """Plot the times at which each track was visible, with id switches in red.

    Returns:
        The diagram (empty without tracks), the number of tracks in it, and of all tracks.
    """
    tracks = tracks_of(records)
    switches = [
        (record.camera, switch['old_pred'], switch['new_pred'], record.seconds(records))
        for record in records
        for switch in record.switches
    ]
    switched = {(camera, track) for camera, old, new, _ in switches for track in (old, new)}
    shown = sorted(
        tracks, key=lambda track: ((track.camera, track.track_id) not in switched, -track.frames)
    )[:MAX_TRACKS]
    shown.sort(key=lambda track: (track.camera, track.spans[0][0], track.track_id))
    if not shown:
        return '', 0, 0
    figure, axes = _figure(0.6 + 0.19 * len(shown))
    rows = {(track.camera, track.track_id): place for place, track in enumerate(shown)}
    named: set[str] = set()
    for place, track in enumerate(shown):
        name = labels.names[track.class_id]
        color = labels.colors[track.class_id] / 255
        least = 0.004 * (shown[-1].spans[-1][1] + 1)
        axes.broken_barh(
            [(a, max(b - a, least)) for a, b in track.spans],
            (place - 0.35, 0.7),
            facecolor=color,
            label='_' + name if name in named else name,
        )
        named.add(name)
    marked = False
    for camera, old, new, time_s in switches:
        ends = [rows[camera, track] for track in (old, new) if (camera, track) in rows]
        if len(ends) == 2:
            axes.plot([time_s, time_s], ends, color=RED, linewidth=0.8)
        for end in ends[-1:]:
            axes.plot(
                [time_s],
                [end],
                'v',
                color=RED,
                markersize=6,
                linestyle='none',
                label='_' if marked else 'id switch',
            )
            marked = True
    several = len({track.camera for track in shown}) > 1
    axes.set_yticks(
        range(len(shown)), [_track_name(track, labels, several) for track in shown], fontsize=7
    )
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis='y', visible=False)
    return _svg(figure, axes), len(shown), len(tracks)


def _track_name(track: Track, labels: LabelSet, several: bool) -> str:
    return (f'{track.camera} ' if several else '') + (
        f'{labels.names[track.class_id]} #{track.track_id}'
    )


def _seconds(
    some: Sequence[FrameRecord], records: Sequence[FrameRecord]
) -> npt.NDArray[np.float64]:
    return np.array([record.seconds(records) for record in some])


def _bin(
    times: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean times and the mean rows of up to `BINS` bins of consecutive images."""
    order = np.argsort(times, kind='stable')
    parts = np.array_split(order, min(BINS, len(order)))
    return (
        np.array([times[part].mean() for part in parts]),
        np.array([rows[part].mean(axis=0) for part in parts]),
    )


def _limit(axes: Any, top: float, values: npt.NDArray[np.float64], unit: str) -> None:
    """Let the axis end at `top`, and say so in the diagram if values lie above."""
    axes.set_ylim(0, top)
    above = values[values > top]
    if not len(above):
        return
    axes.annotate(
        f'cut off: {len(above)} of {len(values)} values lie above, up to {above.max():.0f} {unit}',
        (0.995, 0.97),
        xycoords='axes fraction',
        ha='right',
        va='top',
        fontsize=8,
        color=INK,
        bbox={'facecolor': 'white', 'edgecolor': INK, 'linewidth': 0.6, 'pad': 2},
    )


def _name_bins(axes: Any, count: int) -> None:
    """Say below the diagram if each point shows the mean of several images."""
    if count > BINS:
        axes.set_xlabel(f'seconds; each point is the mean of about {count / BINS:.0f} images')


def _figure(height_in: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout='constrained')
    axes = figure.add_subplot()
    axes.grid(visible=True, color='#e6e6e6', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel('seconds', fontsize=8)
    axes.margins(x=0.01)
    return figure, axes


def _svg(figure: Any, axes: Any) -> str:
    """Return a figure as SVG without the parts that may occur only once in an HTML page."""
    from matplotlib import rc_context

    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(fontsize=8, frameon=False, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    axes.yaxis.label.set_size(8)
    stream = io.StringIO()
    # Text stays text, so that it can be searched and copied.
    with rc_context(
        {'svg.fonttype': 'none', 'font.family': 'sans-serif', 'svg.hashsalt': 'panoptic'}
    ):
        figure.savefig(stream, format='svg', metadata={'Date': None})
    text = stream.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    # The page sets the size; ids get a prefix, since those of several diagrams would clash.
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1>', text, count=1)
    prefix = f'p{zlib.crc32(text.encode()):08x}'
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    return re.sub(r'(href="|url\()#', rf'\g<1>#{prefix}', text)
