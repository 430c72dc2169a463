# SPDX-License-Identifier: Apache-2.0
"""Lifecycle node that answers during transitions and survives invalid requests."""

from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from panoptic_ros.core.text import reason_of
from panoptic_ros.ros.background import run_now

_NAMES = {
    getattr(Transition, name): name.removeprefix('TRANSITION_').lower()
    for name in dir(type(Transition))
    if name.startswith('TRANSITION_')
}


class ResponsiveLifecycleNode(LifecycleNode):
    """Lifecycle node whose transitions are coroutines.

    It handles the service `change_state` itself. rclpy's own handler occupies the executor for
    the whole transition. On Humble and Jazzy it raises an exception, which ends the process, if
    the state does not allow the transition (ros2/rclpy#1209).
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Create the node and its services.

        Args:
            name: name of the node.
            kwargs: see rclpy.node.Node.
        """
        super().__init__(name, **kwargs)
        self.problem = ''
        """Reason why the last transition failed, in one line; empty if it succeeded."""
        self._in_progress = ''
        for service in self.services:
            if service.srv_type is ChangeState:
                answer: Any = self._on_change_state
                service.callback = answer
                # Further requests during a transition are refused, not queued.
                service.callback_group = ReentrantCallbackGroup()
                service.callback_group.add_entity(service)

    @property
    def state(self) -> str:
        """Label of the lifecycle's state; during a transition for example `configuring`."""
        return str(self._state_machine.current_state[1])

    async def perform(self, transition: str) -> None:
        """Do the work of a transition.

        Args:
            transition: configure, activate, deactivate, cleanup or shutdown.

        Raises:
            Exception: if it failed; the node returns to its previous state.
        """
        raise NotImplementedError

    async def change_state(self, transition: int | str) -> bool:
        """Perform a transition if the state allows it and no other one is in progress.

        Args:
            transition: label, or id as in lifecycle_msgs/Transition.

        Returns:
            False if it was refused or failed, with the reason in the log.
        """
        possible = (
            {}
            if self._in_progress
            else {number: label for number, label, *_ in self._state_machine.available_transitions}
        )
        number = next(
            (number for number, label in possible.items() if transition in (number, label)), None
        )
        if number is None:
            self.get_logger().error(
                f'transition {_NAMES.get(transition, transition)!r:.80} is refused: '
                + (
                    f'{self._in_progress} is in progress'
                    if self._in_progress
                    else f'the node is {self.state}, which allows '
                    f'{", ".join(possible.values()) or "none"}'
                )
            )
            return False
        self._in_progress = possible[number]
        try:
            self._state_machine.trigger_transition_by_id(number, True)
            result = await self._perform(possible[number])
            self._state_machine.trigger_transition_by_label(result.to_label(), True)
        finally:
            self._in_progress = ''
        return bool(result == TransitionCallbackReturn.SUCCESS)

    async def _perform(self, transition: str) -> TransitionCallbackReturn:
        try:
            await self.perform(transition)
        except Exception as error:
            self.problem = f'cannot {transition}: {reason_of(error)}'
            self.get_logger().error(self.problem)
            return TransitionCallbackReturn.FAILURE
        self.problem = ''
        return TransitionCallbackReturn.SUCCESS

    async def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        response.success = await self.change_state(
            request.transition.label or request.transition.id
        )
        return response

    # These serve rclpy's trigger_configure and so on, which return after the transition.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy.lifecycle.LifecycleNode."""
        return run_now(self._perform('configure'))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy.lifecycle.LifecycleNode."""
        return run_now(self._perform('activate'))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy.lifecycle.LifecycleNode."""
        return run_now(self._perform('deactivate'))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy.lifecycle.LifecycleNode."""
        return run_now(self._perform('cleanup'))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy.lifecycle.LifecycleNode."""
        return run_now(self._perform('shutdown'))
