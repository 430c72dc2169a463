# SPDX-License-Identifier: Apache-2.0
"""Suites on Ray: figures equal to the bit, lost nodes, clusters that cannot run them."""

import threading
import time
from functools import partial

import pytest
from replay_bags import GT_TOPIC
from suite_runs import figures, run_suite, summary_of, write_suite

from panoptic_ros.suite.executor import Needs
from panoptic_ros.suite.on_ray import execute_on_ray
from panoptic_ros.suite.run import run_suite as run
from panoptic_ros.suite.suite_file import read_suite
from panoptic_ros.suite.task import Task

pytest.importorskip('ray', reason='needs ray: pip install "panoptic_ros[fleet]"')


@pytest.fixture(scope='module')
def cluster():
    """A cluster of two nodes of one core each, on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False}
    )
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.mark.timeout(600)
def test_figures_are_those_of_local_processes_though_a_node_is_killed(
    cluster, drives, finished, tmp_path, slow_model
):
    """The second node is killed while both are in the middle of a recording."""
    names = ['sunny_1', 'sunny_2', 'rainy', 'pausing']
    entries = [{'path': str(drives / name), 'ground_truth': GT_TOPIC} for name in names]
    path = write_suite(
        tmp_path / 'suite.yaml', entries, model=str(slow_model), memory_gb=0.2, name='small'
    )
    node = cluster.add_node(num_cpus=1)
    out, killed = tmp_path / 'out', []

    def kill() -> None:
        give_up = time.monotonic() + 240
        while time.monotonic() < give_up:
            logs = list(out.glob('recordings/*/.unfinished/outputs.log'))
            if sum(log.stat().st_size > 0 for log in logs) == 2:
                cluster.remove_node(node, allow_graceful=False)
                killed.extend(log.parts[-3] for log in logs)
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = run(read_suite(path), out, partial(execute_on_ray, address=cluster.address))
    killer.join()
    assert len(killed) == 2
    assert summary['recordings'] == {'all': 4, 'done': 4, 'failed': 0}
    found, expected = figures(out), figures(finished)
    for name in names:  # the models differ by name and work only
        assert found[name][:2] == expected[name][:2]
    assert found['summary']['scores'] == expected['summary']['scores']
    assert found['summary']['tracks'] == expected['summary']['tracks']
    # The killed replay went on with the outputs of the network that the first try had kept.
    again = [summary_of(out / 'recordings' / n)['timing']['kept_from_earlier'] for n in killed]
    assert max(again) > 0


def test_a_cluster_without_room_is_refused(cluster):
    for needs, words in (
        (Needs(64, 0, 0.1), '64 CPUs'),
        (Needs(1, 2, 0.1), '2 GPUs'),
        (Needs(1, 0, 1e6), '1e.06 GB'),
    ):
        error = f'no node of the cluster has what a recording needs: .*{words}'
        with pytest.raises(ValueError, match=error):
            list(execute_on_ray([], needs, cluster.address))


def test_a_worker_that_cannot_write_its_outcome_ends_the_run(cluster, drives, tmp_path):
    """The results are a file on that machine, for example."""
    (tmp_path / 'out').touch()
    recording = read_suite(drives / 'suite.yaml').recordings[0]
    task = Task(recording, '', '', '', 1, True, None, 1.0, str(tmp_path / 'out'))
    error = 'a worker of the cluster cannot replay sunny_1: NotADirectoryError: '
    with pytest.raises(ValueError, match=error) as caught:
        list(execute_on_ray([task], Needs(1, 0, 0.1), cluster.address))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('address', 'error'),
    [
        ('127.0.0.1:9', '--ray 127.0.0.1:9: no cluster is reached'),
        ('ray://127.0.0.1:9', 'no cluster is reached'),
        ('127.0.0.1:99999', 'no cluster is reached'),
        ('cluster', "--ray must be auto, local or HOST:PORT, got 'cluster'"),
    ],
)
def test_no_cluster_is_one_line(drives, tmp_path, capsys, address, error):
    assert run_suite(drives / 'suite.yaml', '-o', tmp_path / 'out', '--ray', address) == 2
    message = capsys.readouterr().err
    assert error in message and message.count('\n') == 1
