# SPDX-License-Identifier: Apache-2.0
"""Retrieval of things by their embeddings."""

import dataclasses
import math

from disc_frames import BLUE, RED, make_frame
from recorded_clips import LABELS, car, clip_of

from panoptic_training.tracking.retrieval import embedding_retrieval
from panoptic_training.tracking.study import count


def test_recall_counts_how_often_the_nearest_is_the_same():
    # The two swap their embeddings after the third frame.
    frames = [
        make_frame(
            t / 20,
            car(50, embedding=RED if t < 3 else BLUE),
            car(150, embedding=BLUE if t < 3 else RED),
        )
        for t in range(6)
    ]
    clip = count(clip_of(frames), LABELS)
    assert dataclasses.astuple(embedding_retrieval([clip], 1)) == (1, 80.0, 50.0, 10)
    assert dataclasses.astuple(embedding_retrieval([clip], 3)) == (3, 0.0, 50.0, 6)


def test_a_single_thing_is_not_a_query():
    alone = count(clip_of([make_frame(t / 20, car(50)) for t in range(3)]), LABELS)
    result = embedding_retrieval([alone], 1)
    assert result.queries == 0 and math.isnan(result.recall_at_1)
