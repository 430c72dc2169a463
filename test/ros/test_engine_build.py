# SPDX-License-Identifier: Apache-2.0
"""The node while it builds an engine; a stand-in's build takes the place of TensorRT's."""

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

pytestmark = pytest.mark.ros

HELPERS = Path(__file__).parents[1] / 'helpers'

END_S = 5.0
"""Time after which `ros2 launch` sends the next signal, seconds."""


@pytest.fixture
def endless_builds(tmp_path, monkeypatch):
    """Let every new Python process have a GPU and a TensorRT whose builds do not end."""
    folder = tmp_path / 'site'
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(
        'import stand_in_tensorrt\nstand_in_tensorrt.install("11.4.0.106", 60)\n'
    )
    monkeypatch.setenv('PYTHONPATH', f'{folder}:{HELPERS}')


def test_a_build_is_shown_and_ends_at_the_time_limit_and_with_a_signal(
    endless_builds, graph, start, tiny_model, tmp_path
):
    cache = tmp_path / 'engines'
    node = start({'model': tiny_model, 'engine_cache_dir': cache, 'load_timeout_s': 5.0})

    def shows_the_build() -> bool:
        level, message, values = graph.status('model')
        return values['engine'] == 'building 90 %' and (
            level == 1 and 'its engine is being built (90 %)' in message
        )

    graph.until(shows_the_build)
    assert graph.state == 'configuring'  # services answer
    assert f'tensorrt 11.4.0.106 builds an engine of {tiny_model}' in node.log
    assert list(cache.glob('*.building'))
    node.wait_for_log('cannot configure: the model is not loaded after 5 s')
    assert graph.state == 'unconfigured'
    assert graph.status('model')[2]['engine'] == 'n/a'
    graph.until(lambda: not list(cache.iterdir()))  # the build was cancelled

    assert graph.set_parameter('load_timeout_s', 600.0) == ''
    graph.send('change_state', ChangeState.Request(transition=Transition(label='configure')))
    graph.until(shows_the_build)
    start_s = time.monotonic()
    assert node.end(signal.SIGTERM) == 0, node.log
    assert time.monotonic() - start_s < END_S
    assert 'Traceback' not in node.log
    assert not [path for path in cache.rglob('*') if 'plan' in path.name]
