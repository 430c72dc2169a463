# SPDX-License-Identifier: Apache-2.0
"""Execution of tasks on a Ray cluster, or on a Ray of this machine alone."""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from panoptic_ros.core.text import one_line
from panoptic_ros.suite.executor import TRIES, Ended, Needs
from panoptic_ros.suite.task import Task
from panoptic_ros.suite.worker import replay_recording

AHEAD = 2
"""Tasks that are submitted for each that the cluster can run, so that a free worker finds one."""

CONNECT_S = 10.0
"""Longest time that a connection to a cluster may take, s."""

WAIT_S = 10.0
"""Time after which the size of the cluster is looked up again, s."""


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect to a Ray cluster until the block ends; see `execute_on_ray`."""
    try:
        import ray
    except ImportError as error:
        raise ValueError(f'--ray needs ray ({error}): pip install "panoptic_ros[fleet]"') from None
    if address not in ('auto', 'local'):
        _require_reachable(address)
    options = {}
    if address == 'local':
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing is sent from here
        options = {'include_dashboard': False}
    try:
        ray.init(address, log_to_driver=False, logging_level='error', **options)
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        raise _not_reached(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()


def execute_on_ray(tasks: Iterable[Task], needs: Needs, address: str) -> Iterator[Ended]:
    """Run tasks on a Ray cluster; see `Execute`.

    Ray runs as many at a time as CPUs, GPUs and memory of its nodes allow, and repeats a task
    whose worker or node is lost. A cluster may grow and shrink meanwhile.

    Args:
        tasks: read as the cluster takes them.
        needs: of each task.
        address: `auto` for the cluster that this machine belongs to, `local` to start one on this
            machine, or the address of a cluster.

    Raises:
        ValueError: if Ray is not installed, the cluster is not reached, none of its nodes has
            what a task needs, or a worker cannot run tasks.
    """
    with _connected(address):
        yield from _execute(tasks, needs)


def _execute(tasks: Iterable[Task], needs: Needs) -> Iterator[Ended]:
    import ray
    from ray.exceptions import RayError, RayTaskError

    _require_node(needs)
    remote = ray.remote(
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        memory=int(needs.memory_gb * 1e9),
        max_retries=TRIES - 1,
    )(replay_recording)
    rest, running, is_over = iter(tasks), dict[Any, Task](), False
    while running or not is_over:
        limit = AHEAD * _slots(needs)
        while not is_over and len(running) < limit:
            task = next(rest, None)
            is_over = task is None
            if task is not None:
                running[remote.remote(task.to_dict())] = task
        if not running:
            break
        for reference in ray.wait(list(running), timeout=WAIT_S)[0]:
            try:
                result = ray.get(reference)
            except RayTaskError as error:  # its outcome could not be written, for example
                raise ValueError(
                    f'a worker of the cluster cannot replay {running[reference].name}: '
                    f'{type(error.cause).__name__}: {one_line(error.cause)}'
                ) from None
            except RayError:  # lost more often than it is repeated
                result = None
            yield running.pop(reference), result


def _require_reachable(address: str) -> None:
    """Check that something listens at an address; Ray would try for many minutes."""
    match = re.fullmatch(r'(?:ray://)?\[?([^\[\]/]+)\]?:(\d{1,5})', address)
    if not match:
        raise ValueError(f'--ray must be auto, local or HOST:PORT, got {one_line(address)!r}')
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _not_reached(address, error) from None


def _not_reached(address: str, error: Exception) -> ValueError:
    return ValueError(
        f'--ray {address}: no cluster is reached ({one_line(error)}); start one with '
        '`ray start --head`, or use --ray local'
    )


def _slots(needs: Needs) -> int:
    """Return how many tasks the cluster can run at a time, at least 1."""
    import ray

    total = ray.cluster_resources()
    return max(1, int(total.get('CPU', 0) / needs.cpus))


def _require_node(needs: Needs) -> None:
    """Check that a node has what a task needs; Ray would wait for one without end."""
    import ray

    nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
    need = {'CPU': needs.cpus, 'GPU': needs.gpus, 'memory': needs.memory_gb * 1e9}
    if not any(all(node.get(key, 0) >= value for key, value in need.items()) for node in nodes):
        raise ValueError(
            f'no node of the cluster has what a recording needs: {needs.cpus} CPUs, '
            f'{needs.gpus:g} GPUs and {needs.memory_gb:g} GB; lower cpus, gpus or memory_gb of '
            'the suite'
        )
