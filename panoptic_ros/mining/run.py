# SPDX-License-Identifier: Apache-2.0
"""Choice and writing of the frames worth labelling, a data set with a page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import (
    lock_folder,
    replace_results,
    run_folder,
    write_bytes,
    write_json,
)
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage, copy_rgb, encode_jpeg, shrink
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.overlay import draw_overlay
from panoptic_ros.core.version import __version__
from panoptic_ros.mining.blur import blurred
from panoptic_ros.mining.choose import choose_diverse, ranks, worth
from panoptic_ros.mining.evidence import Evidence, collect_evidence
from panoptic_ros.mining.frames import RecordedFrame, Recordings
from panoptic_ros.mining.page import write_page
from panoptic_ros.mining.prelabels import PrelabelWriter, names_of_split
from panoptic_ros.mining.signals import Floats
from panoptic_ros.mining.sources import NAME as SOURCES
from panoptic_ros.mining.sources import Sources
from panoptic_ros.runtime.predictor import Predictor

SPLIT = 'train'

PICKS, PAGE, PICTURES = 'picks.json', 'index.html', 'pictures'

RESULTS = Results((PICKS, PAGE, PICTURES, SOURCES, *names_of_split(SPLIT)), PICKS, 'frames')

PICTURE_WIDTH = 960
"""Largest width of the page's pictures, px."""

PICTURE_QUALITY = 80

Pixels = npt.NDArray[np.uint8]
FrameProgress = Callable[[Iterator[RecordedFrame], str], Iterator[RecordedFrame]]


@dataclass(frozen=True, eq=False)
class Pick:
    """A chosen frame."""

    rank: int
    """From 1 for the first choice."""
    stem: str
    """File name without suffix."""
    worth: float
    """Mean rank of its signals, 0 to 1."""
    ranks: Mapping[str, float]
    """Rank of each signal among all frames, 0 to 1."""
    evidence: Evidence


def mine(
    recordings: Recordings,
    predictor: Predictor,
    finer: Predictor | None,
    known: Floats | None,
    count: int,
    max_bytes: int,
    blur: bool,
    folder: Path,
    progress: FrameProgress,
) -> list[Pick]:
    """Choose frames, and write them with the model's predictions as labels and a page.

    Args:
        recordings: where the frames are.
        predictor: the model.
        finer: see `collect_evidence`.
        known: see `collect_evidence`.
        count: most frames to choose.
        max_bytes: most bytes of images, labels and pictures; frames of the lowest rank are left
            out for it.
        blur: see `blurred`.
        folder: folder of the results, see `RESULTS`.
        progress: shows the progress through the frames, with what is done.

    Returns:
        The written frames, the first choice first.

    Raises:
        ValueError: if no frame can be read, or not a single one fits into `max_bytes`.
        FolderInUseError: if another process writes to the folder.
    """
    with lock_folder(folder, 'mining'), run_folder(folder) as work:
        evidence = collect_evidence(
            progress(recordings.frames(), 'frames examined'), predictor, finer, known
        )
        if not evidence:
            raise ValueError('no image of the recordings can be read')
        picks = choose(evidence, recordings, count)
        written = _write(recordings, predictor, picks, max_bytes, blur, work, progress)
        if not written:
            raise ValueError('not a single frame fits into --max-mb')
        write_json(
            {
                'version': __version__,
                'model': predictor.info.name,
                'recordings': [str(path.resolve()) for path in recordings.paths],
                'examined': len(evidence),
                'unreadable': recordings.unreadable,
                'blurred': blur,
                'frames': [_describe(pick) for pick in written],
            },
            work / PICKS,
        )
        write_page(
            work / PAGE,
            [_describe(pick) for pick in written],
            [str(path) for path in recordings.paths],
            len(evidence),
            blur,
        )
        replace_results(work, folder, PICKS)
    return written


def choose(evidence: Sequence[Evidence], recordings: Recordings, count: int) -> list[Pick]:
    """Return the chosen frames, the first choice first."""
    signals = [one.signals for one in evidence]
    score = worth(signals)
    by_name = {name: ranks(np.array([s[name] for s in signals])) for name in signals[0]}
    layouts = np.stack([one.layout for one in evidence])
    picks: list[Pick] = []
    for index in choose_diverse(score, layouts):
        if len(picks) == count:
            break
        one = evidence[index]
        own = {name: float(values[index]) for name, values in by_name.items()}
        stem = recordings.file_stem(one.source)
        if any(pick.stem == stem for pick in picks):  # images that share a stamp
            stem += f'_{one.source.number}'
        picks.append(Pick(len(picks) + 1, stem, float(score[index]), own, one))
    return picks


def _write(
    recordings: Recordings,
    predictor: Predictor,
    picks: Sequence[Pick],
    max_bytes: int,
    blur: bool,
    work: Path,
    progress: FrameProgress,
) -> list[Pick]:
    """Write the files of the frames, as far as the space allows; return the written ones."""
    labels = predictor.info.network_labels
    writer = PrelabelWriter(work, SPLIT, labels)
    pictures = work / PICTURES
    pictures.mkdir()
    by_source = {pick.evidence.source: pick for pick in picks}
    sizes: dict[Pick, int] = {}
    for source, image in progress(recordings.frames(), 'frames read again'):
        pick = by_source.get(source)
        if pick is None:
            continue
        frame = predictor.predict(image, source.stamp_ns / 1e9)
        pixels = np.empty((*image.pixels.shape[:2], 3), np.uint8)
        copy_rgb(image, pixels)
        if blur:
            pixels = blurred(pixels, frame, labels)
        writer.add(pick.stem, pixels, frame)
        picture = pictures / f'{pick.stem}.jpg'
        write_bytes(_picture(pixels, frame, predictor), picture)
        sizes[pick] = writer.bytes_of(pick.stem) + picture.stat().st_size
        while sum(sizes.values()) > max_bytes:
            last = max(sizes, key=lambda one: one.rank)
            writer.remove(last.stem)
            (pictures / f'{last.stem}.jpg').unlink()
            del sizes[last]
    writer.finish()
    written = sorted(sizes, key=lambda pick: pick.rank)
    sources = Sources()
    for pick in written:
        source = pick.evidence.source
        index = sources.index_of(recordings.paths[source.recording])
        sources.images[pick.stem] = index, source.camera, source.stamp_ns
    sources.write(work)
    return written


def _picture(pixels: Pixels, frame: PanopticFrame, predictor: Predictor) -> bytes:
    """Return the overlay of a frame as JPEG."""
    drawn = draw_overlay(CameraImage(pixels, 'rgb'), frame, predictor.info.labels)
    height, width = drawn.shape[:2]
    if width > PICTURE_WIDTH:
        drawn = shrink(drawn, (max(1, round(height * PICTURE_WIDTH / width)), PICTURE_WIDTH))
    return encode_jpeg(drawn, PICTURE_QUALITY)


def _describe(pick: Pick) -> dict[str, Any]:
    """Return a frame as plain values."""
    source = pick.evidence.source
    return {
        'file': f'{SPLIT}/{pick.stem}.jpg',
        'picture': f'{PICTURES}/{pick.stem}.jpg',
        'rank': pick.rank,
        'worth': pick.worth,
        'signals': pick.evidence.signals,
        'ranks': dict(pick.ranks),
        'events': pick.evidence.events,
        **source._asdict(),
    }
