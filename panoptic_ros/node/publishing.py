# SPDX-License-Identifier: Apache-2.0
"""Making and publishing of the messages of one frame, timed by stage."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from panoptic_ros.node.stages import Stage
from panoptic_ros.node.topics import FrameSource, Topic


class Output(NamedTuple):
    """Topic to publish."""

    topic: Topic
    make: Callable[[FrameSource], Any]
    """See `Topic.maker`."""

    publish: Callable[[Any], None]


def publish_frame(
    outputs: Iterable[Output],
    source: FrameSource,
    lacking: Callable[[Topic], None],
    locate: bool = False,
) -> dict[Stage, float]:
    """Make and publish the messages of a frame.

    Args:
        outputs: the topics that somebody subscribes to.
        source: values of the frame.
        lacking: called for a topic for which the frame lacks the values.
        locate: whether the positions of segments are needed beside the topics.

    Returns:
        Seconds by stage.
    """
    outputs = [one for one in outputs if source.scene is not None or not one.topic.in_metres]
    times = defaultdict[Stage, float](float, {Stage.PUBLISH: 0.0})
    locate |= any(topic.needs_positions for topic, *_ in outputs)
    if source.scene is not None and locate:
        start_s = time.perf_counter()
        source.scene.locate()
        times[Stage.METRES] += time.perf_counter() - start_s
    # One after the other: a message is published while it is in the processor's cache.
    for topic, make, publish in outputs:
        start_s = time.perf_counter()
        message = make(source)
        made_s = time.perf_counter()
        times[topic.stage] += made_s - start_s
        if message is not None:
            publish(message)
            times[Stage.PUBLISH] += time.perf_counter() - made_s
        elif topic.missing:
            lacking(topic)
    return dict(times)
