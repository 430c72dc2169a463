"""The lifecycle node: transitions, services, parameters and the diagnostics timer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from panoptic_ros.interface.diagnostics import (
    diagnostic_array,
    input_status,
    memory_status,
    model_status,
    timing_status,
    tracking_status,
)
from panoptic_ros.interface.loading import Loaded, check_for_model, load, tracker_config
from panoptic_ros.interface.messages import label_message, label_topics
from panoptic_ros.interface.parameters import check_changes
from panoptic_ros.ros.camera import Camera
from panoptic_ros.ros.declare import declare_parameters
from panoptic_ros.ros.logging import forward_logging, remove_handler
from panoptic_ros.ros.messages import RosTypes
from panoptic_ros.ros.publishers import Publishers

STOP_S = 10.0
"""The longest that a transition waits for the image in work."""


class PanopticNode(LifecycleNode):
    """Segments and tracks what cameras see; see the interface's page for topics and services."""

    def __init__(self, **kwargs: Any) -> None:
        """Declares parameters and services; the model is loaded by `configure`."""
        super().__init__('panoptic_node', **kwargs)
        self._log_handler = forward_logging(self.get_logger())
        self._settings, refused = declare_parameters(self)
        for line in refused:
            self.get_logger().error(line)
        self._state = 'unconfigured'
        self._problem = ''
        self._enabled = True
        self._loaded: Loaded | None = None
        self._cameras: list[Camera] = []
        self._label_info: Publishers | None = None
        self._silent_since_s = 0.0
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(Trigger, '~/reset_tracks', self._on_reset_tracks)
        # A group of its own: while a model loads, everything else goes on.
        self.create_service(Trigger, '~/reload_model', self._on_reload_model,
                            callback_group=MutuallyExclusiveCallbackGroup())
        self.create_service(SetBool, '~/enable', self._on_enable)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 5)
        self.create_timer(1.0, self._publish_diagnostics)

    def autostart(self) -> None:
        """Configures and activates, if the parameter of that name says so."""
        success = TransitionCallbackReturn.SUCCESS
        if self._settings['autostart'] and self.trigger_configure() == success:
            self.trigger_activate()

    def close(self, timeout_s: float) -> bool:
        """Stops and releases everything, without a transition.

        Returns:
            False if an image is still in work after `timeout_s`.
        """
        if self._stop_cameras(timeout_s):
            self._release()
            return True
        return False

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and warms up the model, and creates the publishers."""
        return self._transition('configure', 'inactive', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the cameras."""
        return self._transition('activate', 'active', self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes, and waits for the image in work."""
        return self._transition('deactivate', 'inactive', self._stop)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Gives the model and the publishers up."""
        return self._transition('clean up', 'unconfigured', self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops and releases everything; the node can only be ended then."""
        def shut_down() -> None:
            self._stop()
            self._release()
        return self._transition('shut down', 'finalized', shut_down)

    def _transition(self, name: str, goal: str, action: Callable[[], None],
                    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            # rclpy would drop the exception; ours say in one line what to do.
            self._problem = f'cannot {name}: {_one_line(error)}'
            self.get_logger().error(self._problem)
            return TransitionCallbackReturn.FAILURE
        self._state, self._problem = goal, ''
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        names = self._settings['cameras']
        if len(names) != 1:
            raise ValueError(f'cameras must name exactly one camera, got {list(names)}')
        tracker_config(self._settings)
        loaded = load(self._settings)
        check_for_model(self._settings, loaded.predictor.info)
        self._cameras = [Camera(self, names[0], '', loaded.predictor, self._settings)]
        self._label_info = Publishers(self, '', label_topics(RosTypes.vision), latched=True)
        self._take_model(loaded)

    def _activate(self) -> None:
        self._silent_since_s = self._now_s()
        for camera in self._cameras:
            camera.start(subscribe=self._enabled)

    def _stop(self) -> None:
        if not self._stop_cameras(STOP_S):
            raise RuntimeError(f'an image is still in work after {STOP_S:.0f} s')

    def _stop_cameras(self, timeout_s: float) -> bool:
        still_busy = [camera.name for camera in self._cameras if not camera.stop(timeout_s)]
        return not still_busy

    def _release(self) -> None:
        for camera in self._cameras:
            camera.close()
        self._cameras = []
        if self._label_info is not None:
            self._label_info.close()
        self._label_info = None
        self._loaded = None

    def _take_model(self, loaded: Loaded) -> None:
        self._loaded = loaded
        info = loaded.predictor.info
        self._publish_label_info()
        described = ', '.join(f'{key} {value}' for key, value in loaded.describe().items())
        self.get_logger().info(f'model is loaded: {described}, '
                               f'input {info.input_size[1]} x {info.input_size[0]}')
        degraded = loaded.predictor.backend.degraded
        if degraded:
            self.get_logger().warning(f'slower than asked for: {degraded}')

    def _publish_label_info(self) -> None:
        assert self._loaded is not None
        info, threshold = self._loaded.predictor.info, self._settings['score_threshold']
        if threshold < 0:
            threshold = info.thresholds['score_threshold'].default
        assert self._label_info is not None
        for topic, publisher in self._label_info.by_topic.items():
            publisher.publish(label_message(RosTypes(), topic, info.labels, threshold,
                                            self.get_clock().now().to_msg()))

    # Parameters

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        changes = {parameter.name: parameter.value for parameter in parameters}
        try:
            settings = self._settings | check_changes(changes, self._loaded is not None)
            tracker_config(settings)
            if self._loaded is not None:
                check_for_model(settings, self._loaded.predictor.info)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        threshold_changed = settings['score_threshold'] != self._settings['score_threshold']
        self._settings = settings
        for camera in self._cameras:
            camera.apply(settings)
        if threshold_changed and self._loaded is not None:
            self._publish_label_info()
        return SetParametersResult(successful=True)

    # Services

    def _on_reset_tracks(self, request: Trigger.Request,
                         response: Trigger.Response) -> Trigger.Response:
        for camera in self._cameras:
            camera.reset_tracks()
        response.success = bool(self._cameras)
        response.message = ('tracks are forgotten before the next image' if self._cameras
                            else f'there are no tracks: the node is {self._state}')
        return response

    async def _on_reload_model(self, request: Trigger.Request,
                               response: Trigger.Response) -> Trigger.Response:
        """Loads the model file again in a thread; the old model works until that succeeded."""
        settings, cameras, executor = self._settings, self._cameras, self.executor
        if not cameras or executor is None:
            response.message = f'there is no model to replace: the node is {self._state}'
            return response
        future = Future()

        def load_model() -> None:
            try:
                future.set_result(load(settings))
            except Exception as error:
                future.set_result(error)
            executor.wake()

        threading.Thread(target=load_model, name='reload', daemon=True).start()
        loaded = await future
        try:
            if isinstance(loaded, Exception):
                raise loaded
            if self._cameras is not cameras:
                raise RuntimeError('the node was cleaned up meanwhile')
            check_for_model(self._settings, loaded.predictor.info)
        except Exception as error:
            response.message = f'the old model stays: {_one_line(error)}'
            self.get_logger().error(f'cannot reload the model, {response.message}')
            if self._cameras is cameras:
                self._problem = response.message
            return response
        for camera in cameras:
            camera.replace_model(loaded.predictor)
        self._problem = ''
        self._take_model(loaded)
        response.success = True
        response.message = f'{loaded.predictor.info.name} ({loaded.file_hash}) is loaded'
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data != self._enabled and self._state == 'active':
            self._silent_since_s = self._now_s()
            for camera in self._cameras:
                if request.data:
                    camera.subscribe()
                else:
                    camera.unsubscribe()
        self._enabled = request.data
        response.success = True
        response.message = (f'{"enabled" if self._enabled else "disabled"}, '
                            f'the node is {self._state}')
        return response

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        loaded, now_s = self._loaded, self._now_s()
        backend = loaded.predictor.backend if loaded else None
        active = self._state == 'active' and self._enabled
        statuses = [model_status(self._state, self._problem, loaded.describe() if loaded else {},
                                 backend.degraded if backend else '')]
        for camera in self._cameras:
            newest_s = camera.newest_stamp_s
            heard_s = max(self._silent_since_s, camera.arrivals.last_s)
            statuses += [
                input_status(camera.name, camera.worker.counts(), camera.arrivals.rate_hz(now_s),
                             None if newest_s is None else now_s - newest_s,
                             now_s - heard_s if active else None, camera.topics, camera.last_bad),
                timing_status(camera.timings, camera.publications.rate_hz(now_s), self._settings,
                              active),
                tracking_status(camera.tracks)]
        device = backend.device if backend else ''
        statuses.append(memory_status(device, sum(c.out_of_memory for c in self._cameras)))
        self._diagnostics.publish(diagnostic_array(RosTypes(), statuses, self.get_name(), device,
                                                   self.get_clock().now().to_msg()))

    def destroy_node(self) -> None:
        """See rclpy.node.Node.destroy_node."""
        remove_handler(self._log_handler)
        super().destroy_node()

    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
