"""One camera of the node: its subscriptions, worker thread, publishers and counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.image import CameraImage
from panoptic_ros.interface.images import cv_bridge_fallback, read_compressed_image, read_image
from panoptic_ros.interface.live_pipeline import LivePipeline
from panoptic_ros.interface.memory import is_out_of_memory
from panoptic_ros.interface.messages import FrameMessages, frame_topics
from panoptic_ros.interface.meters import RateMeter, Timings
from panoptic_ros.interface.notices import Notices
from panoptic_ros.interface.text import one_line
from panoptic_ros.interface.worker import Drop, Worker
from panoptic_ros.ros.messages import RosTypes, message_class
from panoptic_ros.runtime import Predictor
from panoptic_ros.tracking import TrackerStats

logger = logging.getLogger(__name__)

STAGES = ('pre-process', 'infer', 'post-process', 'track', 'publish', 'end to end')

OUTPUT_DEPTH = 5


class Received(NamedTuple):
    """A message, and when it came."""

    message: Any
    arrived_s: float
    """By the clock that measures durations."""


class Camera:
    """Takes one camera's images through the pipeline; publishes under the image's own header."""

    def __init__(self, node: LifecycleNode, name: str, prefix: str,
                 predictor: Predictor, settings: Mapping[str, Any]) -> None:
        """Creates the publishers; images are taken from `start` on.

        Args:
            node: owns publishers and subscriptions.
            name: of the camera, for people.
            prefix: goes before its topics; empty with one camera.
            predictor: the loaded model.
            settings: the parameters' values.
        """
        self.name = name
        self.timings = Timings(STAGES)
        self.arrivals, self.publications = RateMeter(), RateMeter()
        self.last_bad = ''
        self.newest_stamp_s: float | None = None
        self.out_of_memory = 0
        self.worker = Worker(self._work, f'camera {name}')
        self._node = node
        self._prefix = prefix
        self._pipeline = LivePipeline(predictor, settings)
        self._notices = Notices()
        self._subscriptions: dict[str, Any] = {}
        self._fallback = cv_bridge_fallback()
        self._messages = FrameMessages(RosTypes())
        self._publishers = {topic: node.create_publisher(message_class(kind), f'{prefix}{topic}',
                                                         OUTPUT_DEPTH)
                            for topic, kind in frame_topics(RosTypes.vision).items()}
        self.apply(settings)

    @property
    def topics(self) -> str:
        """The subscribed topics, for people; empty while none is."""
        return ', '.join(subscription.topic_name
                         for subscription in self._subscriptions.values())

    @property
    def tracks(self) -> TrackerStats | None:
        """Counts after the last frame; None before the first, and without a tracker."""
        return self._pipeline.tracks if self.worker.counts().published else None

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Takes checked values of the parameters over, all from the same image on."""
        self._settings = settings
        rate_hz = settings['max_rate_hz']
        self.worker.min_interval_s = 1 / rate_hz if rate_hz else 0.0
        self._pipeline.apply(settings)

    def reset_tracks(self) -> None:
        """Forgets all tracks before the next image."""
        self._pipeline.reset_tracks()

    def replace_model(self, predictor: Predictor) -> None:
        """From the next image on another model is used; tracks start anew, with new ids."""
        self._pipeline.replace_model(predictor)

    def start(self, subscribe: bool) -> None:
        """Starts the worker and, if told to, subscribes."""
        self._notices.clear()
        self.worker.start()
        if subscribe:
            self.subscribe()

    def stop(self, timeout_s: float) -> bool:
        """Unsubscribes and ends the worker; False if it is still busy after the timeout."""
        self.unsubscribe()
        return self.worker.stop(timeout_s)

    def close(self) -> None:
        """Takes the publishers away; the camera is stopped."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def subscribe(self) -> None:
        """Subscribes to the raw image, the compressed one, or both until one delivers."""
        reliability = (QoSReliabilityPolicy.RELIABLE
                       if self._settings['input_reliability'] == 'reliable'
                       else QoSReliabilityPolicy.BEST_EFFORT)
        kinds = {'raw': Image, 'compressed': CompressedImage}
        transport = self._settings['input_transport']
        for kind, topic in zip(kinds, self._input_topics(), strict=True):
            if transport in ('auto', kind):
                self._subscriptions[kind] = self._node.create_subscription(
                    kinds[kind], topic, partial(self._receive, kind),
                    QoSProfile(depth=1, reliability=reliability),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def unsubscribe(self) -> None:
        """Takes no more images."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.popitem()[1])

    def _input_topics(self) -> tuple[str, str]:
        """Raw and compressed topic; the latter follows a remapped `image` unless remapped."""
        image, compressed = f'{self._prefix}image', f'{self._prefix}image/compressed'
        raw = self._node.resolve_topic_name(image)
        own = self._node.resolve_topic_name(compressed)
        remapped = own != self._node.resolve_topic_name(compressed, only_expand=True)
        return raw, own if remapped else f'{raw}/compressed'

    def _receive(self, kind: str, message: Any) -> None:
        """Runs in the executor: only hands the message over."""
        if kind not in self._subscriptions:  # was on its way when the other kind won
            return
        for other in self._subscriptions.keys() - {kind}:
            self._node.destroy_subscription(self._subscriptions.pop(other))
        self.arrivals.add(self._now_s())
        self.newest_stamp_s = _seconds(message.header.stamp)
        self.worker.put(Received(message, time.perf_counter()))

    def _work(self, received: Received) -> Drop | None:
        """Runs in the worker's thread."""
        with self._pipeline.for_image():
            return self._process(received)

    def _process(self, received: Received) -> Drop | None:
        """One image, from message to messages."""
        message = received.message
        stamp_s = _seconds(message.header.stamp)
        age_ms, max_age_ms = (self._now_s() - stamp_s) * 1e3, self._settings['max_age_ms']
        if max_age_ms and age_ms > max_age_ms:
            self._notices.warn('too old', f'an image is {age_ms:.0f} ms old, more than max_age_ms '
                                          f'{max_age_ms:.0f}; such images are dropped')
            return Drop.TOO_OLD
        start_s = time.perf_counter()
        try:
            image = (read_image(message, self._fallback) if isinstance(message, Image)
                     else read_compressed_image(message))
        except ValueError as error:
            self.last_bad = one_line(error)
            self._notices.warn('bad image', f'bad image: {self.last_bad}; such images are dropped')
            return Drop.BAD_IMAGE
        self.last_bad = ''
        read_s = time.perf_counter() - start_s
        try:
            frame, times = self._pipeline(image, stamp_s)
            publish_s = time.perf_counter()
            self._publish(message.header, image, frame)
        except Exception as error:
            if self._node.context.ok():  # else the node is being ended
                self.out_of_memory += is_out_of_memory(error)
                self._notices.warn('inference failed',
                                   f'inference failed: {type(error).__name__}: {error}')
                logger.debug('inference failed', exc_info=True)
            return Drop.INFERENCE_FAILED
        end_s = time.perf_counter()
        for stage, seconds in zip(STAGES, (read_s + times.pre, times.infer, times.post,
                                           times.track, end_s - publish_s,
                                           end_s - received.arrived_s), strict=True):
            self.timings.add(stage, seconds)
        self.publications.add(self._now_s())
        return None

    def _publish(self, header: Any, image: CameraImage, frame: PanopticFrame) -> None:
        """Publishes what somebody subscribes to."""
        labels, scale = self._pipeline.predictor.info.labels, self._settings['output_scale']
        for topic, publisher in self._publishers.items():
            if publisher.get_subscription_count() > 0:
                publisher.publish(self._messages.make(topic, header, image, frame, labels, scale))

    def _now_s(self) -> float:
        return self._node.get_clock().now().nanoseconds * 1e-9


def _seconds(stamp: Any) -> float:
    return stamp.sec + stamp.nanosec * 1e-9
