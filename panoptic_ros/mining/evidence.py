# SPDX-License-Identifier: Apache-2.0
"""Signals and layouts of all frames of some recordings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.metrics.changed_share import changed_share
from panoptic_ros.mining.flicker import Flicker
from panoptic_ros.mining.frames import RecordedFrame, Source
from panoptic_ros.mining.signals import (
    Floats,
    at_image,
    bimodality,
    flipped_difference,
    layout,
    low_score,
    novelty,
    thing_embeddings,
)
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.tracking.tracker import Tracker

T = TypeVar('T')
Progress = Callable[[Iterator[T]], Iterator[T]]


@dataclass
class Evidence:
    """Signals of one frame."""

    source: Source
    signals: dict[str, float]
    """By name, see `SIGNALS`."""
    layout: npt.NDArray[np.float32]
    events: dict[str, int]
    """Events of its tracks."""


def collect_evidence(
    frames: Iterator[RecordedFrame],
    predictor: Predictor,
    finer: Predictor | None = None,
    known: Floats | None = None,
) -> list[Evidence]:
    """Return the evidence of each frame.

    Args:
        frames: in the order of the recordings.
        predictor: the model.
        finer: the same model at stride 2; without it there is no signal `stride`.
        known: embeddings of the training set, see `novelty`; without them there is no signal
            `novelty`.
    """
    found: list[Evidence] = []
    cameras: dict[tuple[int, str], tuple[Tracker, Flicker, list[Evidence]]] = {}
    for source, image in frames:
        key = source.recording, source.camera
        tracker, flicker, own = cameras.setdefault(key, (Tracker(), Flicker(), []))
        frame = predictor.predict(image, source.stamp_ns / 1e9)
        signals = {
            'flip': flipped_difference(predictor, image, frame),
            'score': low_score(frame),
            'bimodal': bimodality(frame.segments['score']),
        }
        if finer is not None:
            signals['stride'] = changed_share(at_image(frame), at_image(finer.predict(image)))
        if known is not None:
            signals['novelty'] = novelty(thing_embeddings(frame), known)
        flicker.update(frame, tracker.update(frame, image))
        own.append(Evidence(source, signals, layout(frame, len(predictor.info.labels)), {}))
        found.append(own[-1])
    for _, flicker, own in cameras.values():
        for evidence, (value, events) in zip(own, flicker.finish(), strict=True):
            evidence.signals['flicker'], evidence.events = value, events
    return found


def known_embeddings(predictor: Predictor, images: Iterator[npt.NDArray[np.uint8]]) -> Floats:
    """Return the embeddings of the things that a model finds in images, (K, D) unit vectors.

    Args:
        predictor: the model.
        images: (H, W, 3) RGB each.

    Raises:
        ValueError: if it finds none.
    """
    found = [thing_embeddings(predictor.predict(image)) for image in images]
    known = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
    if not len(known):
        raise ValueError('--train: the model finds no thing in the images of the training set')
    return known
