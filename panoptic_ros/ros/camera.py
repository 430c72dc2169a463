# SPDX-License-Identifier: Apache-2.0
"""Subscription to one camera: input, publishers and counts; and the processing of images."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, cast

from rclpy.lifecycle import LifecycleNode
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from panoptic_ros.core.text import one_line
from panoptic_ros.core.transport import PROFILE, segment_bytes
from panoptic_ros.images.messages import header_stamp_s
from panoptic_ros.node.camera_settings import settings_for
from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.image_step import (
    DroppedImage,
    ImageStep,
    ProcessedImage,
    Request,
    failed,
    process_together,
)
from panoptic_ros.node.memory import is_out_of_memory
from panoptic_ros.node.meters import RateMeter, Timings
from panoptic_ros.node.notices import Notices
from panoptic_ros.node.publishing import Output, publish_frame
from panoptic_ros.node.scene import Metres
from panoptic_ros.node.scheduler import Waiting
from panoptic_ros.node.stages import LABELS, Stage, sum_by_label
from panoptic_ros.node.standby import Standby
from panoptic_ros.node.topics import POINTS, FrameSource, Topic, frame_topics
from panoptic_ros.node.worker import Worker
from panoptic_ros.ros.image_input import ImageInput
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.ros.publishers import Publishers
from panoptic_ros.ros.side_inputs import SideInputs
from panoptic_ros.ros.transforms import Transforms
from panoptic_ros.runtime import Predictor
from panoptic_ros.tracking import TrackerStats

logger = logging.getLogger(__name__)


class Received(NamedTuple):
    """A message with its time of arrival."""

    message: Any
    arrived_s: float
    """Time of arrival by time.perf_counter()."""


class CameraSubscription:
    """Processing of one camera's images; results have the header of their image."""

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        prefix: str,
        predictor: Predictor,
        settings: Mapping[str, Any],
        worker: Worker[Received],
        transforms: Transforms,
    ) -> None:
        """Create the publishers; `subscribe` begins to receive images.

        Args:
            node: owner of publishers and subscriptions.
            name: name of the camera.
            prefix: prefix of its topics; see `topic_prefix`.
            predictor: the loaded model.
            settings: the values of all parameters.
            worker: receives the images, and calls `process_images` for them.
            transforms: of the node.
        """
        self.name = name
        self.timings = Timings(LABELS)
        self.arrivals, self.publications = RateMeter(), RateMeter()
        self.last_bad = self.last_failure = ''
        self.newest_stamp_s: float | None = None
        self.arrived_s = 0.0  # of the newest image, by time.monotonic()
        self.raw_bytes = 0  # size of the newest image; 0 if it is compressed
        self.out_of_memory = 0
        self.standby = Standby()
        self._worker = worker
        self._node = node
        self.input = ImageInput(node, prefix)
        self.step = ImageStep(predictor, settings)
        self._notices = Notices(f'camera {name}: ' if prefix else '')
        # Nothing here refers to the camera itself, so that a model is released with its camera.
        self.metres = Metres(self._notices.warn, transforms)
        self.side_inputs = SideInputs(node, prefix, self.metres, transforms.listen)
        topics = frame_topics(RosTypes.vision)
        self.publishers = Publishers(node, prefix, topics)
        """To be closed after the worker has stopped."""
        self._outputs = {
            publisher: Output(topic, topic.maker(RosTypes()), self._publish_of(topic, publisher))
            for topic, publisher in self.publishers.by_topic.items()
        }
        self.apply(settings)

    @property
    def counts(self) -> Counts:
        """Counts of the camera's images."""
        return self._worker.counts(self.name)

    @property
    def tracks(self) -> TrackerStats | None:
        """Counts of tracks after the last frame; None before the first and without a tracker."""
        return self.step.pipeline.tracks if self.counts.published else None

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Apply checked values of the parameters, all from the same image on."""
        self.settings = settings_for(self.name, settings)
        self._worker.limit_rate(self.name, self.settings['max_rate_hz'])
        self.step.apply(self.settings)

    def subscribe(self) -> None:
        """Subscribe to the images and what is beside them; see `ImageInput`, `SideInputs`."""
        self.side_inputs.open(self.settings, self.input.raw_topic)
        try:
            self.input.open(self.settings, self._receive)
        except BaseException:
            self.side_inputs.close()
            raise

    def unsubscribe(self) -> None:
        """Receive nothing any more."""
        self.input.close()
        self.side_inputs.close()

    def begin(self) -> None:
        """Log all warnings anew, and wait for subscribers anew."""
        self._notices.clear()
        self.standby = Standby()

    def _receive(self, message: Any) -> None:
        """Hand a message over to the worker; called by the executor."""
        self.arrivals.add(self._now_s())
        self.newest_stamp_s = header_stamp_s(message)
        self.arrived_s = time.monotonic()
        self.raw_bytes = len(message.data) if isinstance(message, Image) else 0
        self._worker.put(self.name, Received(message, time.perf_counter()))

    def is_idle(self) -> bool:
        """Return whether the next image is not processed, as nobody subscribes to an output."""
        publishers = self.publishers.by_topic.values()
        watched = any(publisher.get_subscription_count() for publisher in publishers)
        if not self.standby.update(watched, self.settings['idle_after_s']):
            return False
        self.publications = RateMeter()  # the rate begins anew with the next subscriber
        return True

    def request(self, received: Received) -> Request:
        """Return the request to process an image now."""
        message = received.message
        view_of = partial(self.metres.view, message.header, self.settings)
        return Request(self.step, message, received.arrived_s, self._now_s(), view_of)

    def finish(self, received: Received, result: ProcessedImage | DroppedImage) -> Drop | None:
        """Publish the result of an image; return why it was dropped, None if it was not."""
        if isinstance(result, DroppedImage):
            return self._drop(result)
        self.last_bad = ''
        try:
            times = self._publish(received.message.header, result)
        except Exception as error:
            return self._drop(failed(error))
        end_s = time.perf_counter()
        times = {**result.times, **times, Stage.TOTAL: end_s - received.arrived_s}
        for label, seconds in sum_by_label(times).items():
            self.timings.add(label, seconds)
        self.publications.add(self._now_s())
        return None

    def _drop(self, dropped: DroppedImage) -> Drop:
        """Note why an image is dropped, and return the reason."""
        reason, warning = dropped.reason, ''
        if reason is Drop.TOO_OLD:
            warning = f'{dropped.text}; such images are dropped'
        elif reason is Drop.BAD_IMAGE:
            self.last_bad = one_line(dropped.text)
            warning = f'{reason.value}: {self.last_bad}; such images are dropped'
        elif self._node.context.ok():  # else the node is being shut down
            self.last_bad, self.last_failure = '', dropped.text
            self.out_of_memory += is_out_of_memory(dropped.error)
            warning = dropped.problem
            logger.debug('inference failed', exc_info=dropped.error)
        if warning:
            self._notices.warn(reason.value, warning)
        return reason

    def _publish(self, header: Any, processed: ProcessedImage) -> dict[Stage, float]:
        """Publish the topics that somebody subscribes to; return seconds by stage."""
        labels, scale = self.step.pipeline.predictor.info.labels, self.settings['output_scale']
        source = FrameSource.of_model(header, processed.image, processed.frame, labels, scale)
        source = source.located(self.metres, self.settings)
        wanted = [
            output
            for publisher, output in self._outputs.items()
            if publisher.get_subscription_count() > 0
        ]
        view, scene = processed.view, source.scene
        times = publish_frame(
            wanted,
            source,
            lambda topic: self._notices.warn(topic.name, topic.nothing_to_publish),
            locate=view is not None,
        )
        if view is not None and scene is not None:
            self.step.pipeline.locate(scene.frame, view)
        return times

    def _publish_of(self, topic: Topic, publisher: Any) -> Callable[[Any], None]:
        """Return the function that publishes a topic's messages."""
        if topic.name != POINTS or 'fastrtps' not in get_rmw_implementation_identifier():
            return cast(Callable[[Any], None], publisher.publish)
        return partial(_publish_points, publisher, segment_bytes(os.environ), self._notices)

    def _now_s(self) -> float:
        return self._node.get_clock().now().nanoseconds * 1e-9


def _publish_points(publisher: Any, limit: int | None, notices: Notices, message: Any) -> None:
    """Publish a cloud; warn if it takes more than half of the shared memory, `limit` bytes."""
    publisher.publish(message)
    size = len(message.data)
    if limit is not None and size > limit / 2:
        notices.warn(
            POINTS,
            f'a cloud on {POINTS} has {size / 1e6:.1f} MB, more than half of the '
            f'{limit / 1e6:.1f} MB of shared memory of the transport ({PROFILE}), so clouds may '
            'get lost; raise points.stride',
        )


def process_images(
    cameras: Mapping[str, CameraSubscription], images: Sequence[Waiting[Received]]
) -> list[Drop | None]:
    """Process images of different cameras together and publish the results.

    Called in the worker's thread.

    Args:
        cameras: by name.
        images: what the cameras have received.

    Returns:
        See `Process`.
    """
    drops: dict[str, Drop | None] = {image.camera: Drop.IDLE for image in images}
    images = [image for image in images if not cameras[image.camera].is_idle()]
    owners = [cameras[image.camera] for image in images]
    received = [image.image for image in images]
    with ExitStack() as stack:
        for camera in owners:
            stack.enter_context(camera.step.pipeline.for_image())
        results = process_together(
            [camera.request(one) for camera, one in zip(owners, received, strict=True)]
        )
        for camera, one, result in zip(owners, received, results, strict=True):
            drops[camera.name] = camera.finish(one, result)
    return list(drops.values())
