# SPDX-License-Identifier: Apache-2.0
"""Lifecycle node: transitions, parameters and services."""

import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.core.text import reason_of
from panoptic_ros.node.camera_settings import (
    check_cameras,
    check_changes,
    describe_unknown,
    merge,
    topic_prefix,
)
from panoptic_ros.node.memory import return_free_memory
from panoptic_ros.node.model_loading import LoadedModel, load_in_time
from panoptic_ros.node.model_settings import check_settings
from panoptic_ros.node.parameters import NODE
from panoptic_ros.node.topics import label_topics
from panoptic_ros.node.worker import Worker
from panoptic_ros.ros.background import in_thread
from panoptic_ros.ros.camera import CameraSubscription, Received, process_images
from panoptic_ros.ros.diagnostics import Diagnostics, NodeState
from panoptic_ros.ros.lifecycle import ResponsiveLifecycleNode
from panoptic_ros.ros.log_forwarding import forward_logging, remove_handler
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.ros.parameters import (
    declare_for_cameras,
    declare_parameters,
    declare_without_value,
)
from panoptic_ros.ros.publishers import Publishers
from panoptic_ros.ros.transforms import Transforms
from panoptic_ros.runtime.engine_build import EngineBuild

STOP_S = 10.0
"""Longest time that a transition waits for the current image, seconds."""


class PanopticNode(ResponsiveLifecycleNode):
    """Node that segments and tracks the images of cameras; see docs/robot.md."""

    def __init__(self, **kwargs: Any) -> None:
        """Declare parameters and services; `configure` loads the model."""
        super().__init__(NODE, **kwargs)
        self._log_handler = forward_logging(self.get_logger())
        self._refused: set[str] = set()  # values given at the start, as they were logged
        self._settings, refused = declare_parameters(self)
        self._log_refused(refused)
        self._declaring = False
        self._enabled = True
        self._loaded: LoadedModel | None = None
        self._loading: list[tuple[float, EngineBuild]] = []  # since when, and its engine
        self._cameras: list[CameraSubscription] = []
        self._worker = Worker[Received](())
        self._configured = 0  # number of times, to notice that it happened during a reload
        self._reloading = 0  # which configuration; 0 while no reload is in progress
        self._label_info: Publishers | None = None
        self._transforms = Transforms(self)
        self._listening_since_s = time.monotonic()
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(Trigger, '~/reset_tracks', self._on_reset_tracks)
        # Other callbacks run while a model loads, and a further request is refused, not queued.
        self.create_service(
            Trigger,
            '~/reload_model',
            self._on_reload_model,
            callback_group=ReentrantCallbackGroup(),
        )
        self.create_service(SetBool, '~/enable', self._on_enable)
        self._diagnostics = Diagnostics(self, self._read_state)

    async def autostart(self) -> None:
        """Configure and activate the node if the parameter `autostart` is true."""
        if self._settings['autostart'] and await self.change_state(
            Transition.TRANSITION_CONFIGURE
        ):
            await self.change_state(Transition.TRANSITION_ACTIVATE)

    def close(self, timeout_s: float) -> bool:
        """Stop and release everything, without a transition.

        Returns:
            False if an image is still being processed after `timeout_s`.
        """
        stopped = self._diagnostics.stop(timeout_s)
        self._unsubscribe()
        if not self._worker.stop(timeout_s):
            return False
        self._release()
        return stopped

    # Transitions

    async def perform(self, transition: str) -> None:
        """See `ResponsiveLifecycleNode.perform`."""
        if transition == 'configure':
            await self._configure()
        elif transition == 'activate':
            self._activate()
        elif transition == 'deactivate':
            await self._stop()
        elif transition == 'cleanup':
            self._release()
        else:
            try:
                await self._stop()
            finally:
                self._release()

    async def _configure(self) -> None:
        """Load and warm up the model, and create the publishers."""
        names = self._settings['cameras']
        check_cameras(names)
        self._declaring = True
        own, refused = declare_for_cameras(self, names)  # `cameras` may have changed
        self._declaring = False
        self._log_refused(refused)
        self._settings = self._settings | own
        check_settings(self._settings)
        loaded = await self._load()
        try:
            check_settings(self._settings, loaded.predictor.info)
            self._worker = Worker(names)
            for name in names:
                self._cameras.append(
                    CameraSubscription(
                        self,
                        name,
                        topic_prefix(name, names),
                        loaded.predictor,
                        self._settings,
                        self._worker,
                        self._transforms,
                    )
                )
            self._label_info = Publishers(self, '', label_topics(RosTypes.vision))
            self._use_model(loaded)
            self._publish_label_info(loaded.predictor.info)
        except Exception:
            self._release()
            raise
        self._configured += 1

    def _activate(self) -> None:
        """Subscribe to the cameras."""
        self._listening_since_s = time.monotonic()
        cameras = {camera.name: camera for camera in self._cameras}
        for camera in self._cameras:
            camera.begin()
        try:
            if self._enabled:
                for camera in self._cameras:
                    camera.subscribe()
            self._worker.start(partial(process_images, cameras))
        except BaseException:
            self._unsubscribe()
            raise

    def _unsubscribe(self) -> None:
        for camera in self._cameras:
            camera.unsubscribe()

    async def _stop(self) -> None:
        """Unsubscribe and wait for the current images."""
        self._unsubscribe()
        if not await in_thread(partial(self._worker.stop, STOP_S), 'stop', self.executor):
            raise RuntimeError(f'an image is still being processed after {STOP_S:.0f} s')

    def _release(self) -> None:
        """Release the model and the publishers."""
        for camera in self._cameras:
            camera.publishers.close()
        self._cameras = []
        self._transforms.close()
        self._worker = Worker(())
        if self._label_info is not None:
            self._label_info.close()
        self._label_info = None
        self._loaded = None

    # The model

    async def _load(self) -> LoadedModel:
        """Load the model that the parameters name, without blocking the executor."""
        progress = EngineBuild()
        loading = time.monotonic(), progress
        self._loading.append(loading)
        try:
            return await in_thread(
                partial(load_in_time, self._settings, progress), 'load', self.executor
            )
        finally:
            self._loading.remove(loading)

    def _use_model(self, loaded: LoadedModel) -> None:
        """Note the model in use, and report it in the log."""
        self._loaded = loaded
        info = loaded.predictor.info
        self._worker.most_together = info.batch
        description = ', '.join(f'{key} {value}' for key, value in loaded.describe().items())
        self.get_logger().info(
            f'model is loaded: {description}, input {info.input_size[1]} x {info.input_size[0]}'
        )
        fallback_reason = loaded.predictor.backend.fallback_reason
        if fallback_reason:
            self.get_logger().warning(f'slower than requested: {fallback_reason}')

    def _publish_label_info(self, info: ModelInfo) -> None:
        """Publish the classes of a model; any thread may call it."""
        publishers = self._label_info
        if publishers is None:  # the node was cleaned up meanwhile
            return
        threshold = self._settings['score_threshold']
        if threshold < 0:
            threshold = info.thresholds['score_threshold'].default
        stamp = self.get_clock().now().to_msg()
        for topic, publisher in publishers.by_topic.items():
            publisher.publish(topic.make(RosTypes(), info.labels, threshold, stamp))

    # Parameters

    def _log_refused(self, lines: list[str]) -> None:
        """Log each value given at the start that is refused, once."""
        for line in lines:
            if line not in self._refused:
                self.get_logger().error(line)
        self._refused.update(lines)

    @property
    def _is_configured(self) -> bool:
        return self._loaded is not None or self.state == 'configuring'

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters, also for both services; refuse unknown names with the nearest known one.

        rclpy checks the names before any callback, and its answer does not name them. A parameter
        of one camera is declared when it is first set.
        """
        cameras = self._settings['cameras']
        new = dict.fromkeys(p.name for p in parameter_list if not self.has_parameter(p.name))
        if unknown := describe_unknown(new, cameras):
            return SetParametersResult(
                successful=False, reason=f'the node does not have these parameters: {unknown}'
            )
        self._declaring = True
        for name in new:
            declare_without_value(self, name, cameras)
        self._declaring = False
        result = super().set_parameters_atomically(parameter_list)
        for name in new:
            if not result.successful:
                self.undeclare_parameter(name)
        return result

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        if self._declaring:  # not a change of a value
            return SetParametersResult(successful=True)
        changes = {parameter.name: parameter.value for parameter in parameters}
        try:
            checked = check_changes(changes, self._is_configured, self._settings['cameras'])
            settings = merge(self._settings, checked)
            if 'cameras' in changes:
                check_cameras(settings['cameras'])
            check_settings(settings, self._loaded and self._loaded.predictor.info)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        threshold_changed = settings['score_threshold'] != self._settings['score_threshold']
        self._settings = settings
        for camera in self._cameras:
            camera.apply(settings)
        if threshold_changed and self._loaded is not None:
            self._publish_label_info(self._loaded.predictor.info)
        return SetParametersResult(successful=True)

    # Services

    def _on_reset_tracks(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        for camera in self._cameras:
            camera.step.pipeline.reset_tracks()
        response.success = bool(self._cameras)
        response.message = (
            'tracks are deleted before the next image'
            if self._cameras
            else f'there are no tracks: the node is {self.state}'
        )
        return response

    async def _on_reload_model(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Load the model that the parameters name now; the old one is used until then."""
        configured = self._configured
        if not self._cameras:
            response.message = f'there is no model to replace: the node is {self.state}'
            return response
        if self._reloading == configured:
            response.message = 'a model is already being loaded; call again when that has ended'
            return response
        self._reloading = configured
        try:
            loaded = await self._load()
            if not self._cameras or self._configured != configured:
                raise RuntimeError('the node was cleaned up meanwhile')
            check_settings(self._settings, loaded.predictor.info)
            await self._replace_model(loaded)
            response.success = True
            response.message = f'{loaded.predictor.info.name} ({loaded.file_hash}) is loaded'
        except Exception as error:
            has_old = bool(self._cameras) and self._configured == configured
            rest = 'the old model stays: ' if has_old else ''
            response.message = f'{rest}{reason_of(error)}'
            self.get_logger().error(f'cannot reload the model, {response.message}')
            if has_old:
                self.problem = response.message
        finally:
            if self._reloading == configured:
                self._reloading = 0
        return response

    async def _replace_model(self, loaded: LoadedModel) -> None:
        """Replace the model of all cameras between two images, and free the old one."""
        done = [threading.Event() for _ in self._cameras]

        def replaced(event: threading.Event) -> None:
            with suppress(Exception):  # ROS is being shut down
                self._publish_label_info(loaded.predictor.info)
            event.set()

        def wait_and_tidy() -> None:
            end_s = time.monotonic() + STOP_S  # an image may never finish
            for event in done:
                event.wait(max(0.0, end_s - time.monotonic()))
            return_free_memory()

        self.problem = ''
        self._use_model(loaded)
        for camera, event in zip(self._cameras, done, strict=True):
            camera.step.pipeline.replace_model(loaded.predictor, partial(replaced, event))
        await in_thread(wait_and_tidy, 'tidy up', self.executor)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data != self._enabled and self.state == 'active':
            self._listening_since_s = time.monotonic()
            try:
                for camera in self._cameras:
                    if request.data:
                        camera.subscribe()
                    else:
                        camera.unsubscribe()
            except Exception as error:  # a QoS override that ROS refuses
                self._unsubscribe()
                response.message = f'cannot enable the input: {reason_of(error)}'
                self.get_logger().error(response.message)
                return response
        self._enabled = request.data
        response.success = True
        response.message = (
            f'{"enabled" if self._enabled else "disabled"}, the node is {self.state}'
        )
        return response

    # Diagnostics

    def _read_state(self) -> NodeState:
        """Return the node's state; called in the thread of the diagnostics."""
        loading, loaded = self._loading[:1], self._loaded
        return NodeState(
            self.state,
            self.problem,
            time.monotonic() - loading[0][0] if loading else None,
            loading[0][1].share if loading else None,
            loaded,
            loaded.changed(self._settings) if loaded else [],
            self._cameras,
            self._enabled,
            self._listening_since_s,
        )

    def destroy_node(self) -> None:
        """See rclpy.node.Node.destroy_node."""
        self._diagnostics.stop(STOP_S)
        remove_handler(self._log_handler)
        super().destroy_node()
