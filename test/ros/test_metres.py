# SPDX-License-Identifier: Apache-2.0
"""The node as a process with depth, camera_info and a lidar: positions, clouds and markers.

The scene is a wall at 4 m with a ball at 2 m and a box at 3 m, see `tiny_model.paint_scene`.
"""

import array
import re
import signal
import time
from itertools import count

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from camera_infos import depth_image, point_cloud
from node_process import OUTPUTS_IN_METRES, header, image_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from tiny_model import paint_scene

from panoptic_ros import read_instances
from panoptic_ros.node.markers import BOXES, DELETE, LABELS, VELOCITIES

pytestmark = pytest.mark.ros

HEIGHT, WIDTH, FOCAL = 96, 192, 150.0
NUMBERS = count(1)
BALL, BOX = 2, 3  # class ids
MOUNT = '0 0 0  0.5 -0.5 0.5 0.5'  # x forward, y left, z up, at the camera
SCENE = paint_scene(HEIGHT, WIDTH)


def depth_of(ball_m: float = 2.0) -> np.ndarray:
    depth = np.full((HEIGHT, WIDTH), 4000)
    rows = slice(HEIGHT // 4, HEIGHT * 3 // 4)
    depth[rows, WIDTH // 8 : WIDTH * 3 // 8] = round(1000 * ball_m)
    depth[rows, WIDTH * 5 // 8 : WIDTH * 7 // 8] = 3000
    return depth


def point(u: float, v: float, z: float) -> np.ndarray:
    return np.array([(u - WIDTH / 2) * z / FOCAL, (v - HEIGHT / 2) * z / FOCAL, z])


@pytest.fixture(scope='module')
def node(ros_domain, tiny_model, tmp_path_factory):
    from node_process import NodeProcess

    process = NodeProcess(
        tmp_path_factory.mktemp('metres') / 'log',
        {
            'model': tiny_model,
            'input_reliability': 'reliable',
            'input_transport': 'raw',
            'points.stride': 2,
            'cloud.extrinsic': f"'{MOUNT}'",
        },
    )
    yield process
    assert process.end(signal.SIGINT) == 0, process.log
    assert 'Traceback' not in process.log


class Robot:
    """Publishers of all inputs, and the results of the images."""

    def __init__(self, graph) -> None:
        self.graph = graph
        create = graph.node.create_publisher
        self.info = create(CameraInfo, 'camera_info', 10)
        self.depth = create(Image, 'depth', 10)
        self.cloud = create(PointCloud2, 'cloud', 10)
        for topic in ('image', 'depth', 'camera_info', 'cloud'):
            graph.wait_for_input(topic)

    def send(self, *outputs, info=None, depth=None, cloud=None, offset_s=0, image=SCENE):
        """Publish the inputs and then an image until its outputs arrive; return them by name.

        `depth` may be a function of the number of the image.
        """
        self.graph.subscribe(*outputs)
        while True:
            number = next(NUMBERS)
            stamp = header(number)
            stamp.stamp.sec += offset_s
            given = {self.info: info, self.depth: depth, self.cloud: cloud}
            if callable(depth):
                given[self.depth] = depth(number)
            for publisher, message in given.items():
                if message is not None:
                    message.header.stamp = stamp.stamp
                    publisher.publish(message)
            self.graph.spin(0.15)  # for the node to receive them before the image
            self.graph.image.publish(image_message(image, number))
            end_s = time.monotonic() + 1
            while time.monotonic() < end_s:
                found = {
                    name: message
                    for name in outputs
                    for message in self.graph.messages[name]
                    if number_of(message) == number or name == 'cloud'
                }
                if len(found) == len(outputs):
                    return found
                self.graph.spin(0.02)


def number_of(message) -> int:
    if not hasattr(message, 'header'):
        message = message.markers[0]
    return int(message.header.frame_id.partition('_')[2] or -1)


@pytest.fixture
def robot(node, graph):
    node.wait_for_log('model is loaded')
    for messages in graph.messages.values():
        messages.clear()
    robot = Robot(graph)
    yield robot
    for publisher in (robot.info, robot.depth, robot.cloud):
        graph.node.destroy_publisher(publisher)


def info_message(focal=FOCAL, size=(HEIGHT, WIDTH)) -> CameraInfo:
    message = CameraInfo(height=size[0], width=size[1], distortion_model='plumb_bob')
    message.k = [focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 1.0]
    message.d = [0.0] * 5
    return message


def depth_message(depth=None, encoding='16UC1') -> Image:
    given = depth_image(depth_of() if depth is None else depth, encoding)
    message = Image(
        height=given.height, width=given.width, encoding=given.encoding, step=given.step
    )
    message.data = array.array('B', given.data)
    return message


def cloud_message() -> PointCloud2:
    """A lidar's points of every second pixel, x forward."""
    v, u = np.mgrid[0:HEIGHT:2, 0:WIDTH:2].reshape(2, -1)
    x, y, z = point(u, v, depth_of()[v, u] / 1000)
    given = point_cloud(
        {
            'x': z.astype('f4'),
            'y': -x.astype('f4'),
            'z': -y.astype('f4'),
            'ring': (v % 16).astype('u1'),
        }
    )
    message = PointCloud2(
        height=1,
        width=given.width,
        point_step=given.point_step,
        row_step=given.row_step,
        is_dense=True,
    )
    message.header.frame_id = 'lidar'
    message.fields = [
        PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=1)
        for f in given.fields
    ]
    message.data = array.array('B', given.data)
    return message


def test_positions_markers_and_points(robot):
    inputs = {'info': info_message(), 'depth': depth_message()}
    found = robot.send('instances', 'points', 'markers', 'segments', **inputs)
    rows = {int(row['class_id']): row for row in read_instances(found['instances'])}
    for class_id, u, z in ((BALL, WIDTH / 4, 2.0), (BOX, WIDTH * 3 / 4, 3.0)):
        place = np.array([rows[class_id][name] for name in 'xyz'])
        np.testing.assert_allclose(place, point(u - 0.5, HEIGHT / 2 - 0.5, z), atol=0.05)

    cloud = found['points']
    assert (cloud.height, cloud.width, cloud.point_step) == (HEIGHT // 2, WIDTH // 2, 28)
    points = read_instances(cloud).reshape(HEIGHT // 2, WIDTH // 2)
    expected = depth_of()[::2, ::2] / 1000
    np.testing.assert_allclose(points['z'], expected, atol=1e-3)
    u = np.arange(0, WIDTH, 2)
    np.testing.assert_allclose(points['x'], (u - WIDTH / 2) * expected / FOCAL, atol=1e-3)
    centre = points[HEIGHT // 4, WIDTH // 8]
    assert centre['class_id'] == BALL and centre['track_id'] == rows[BALL]['track_id'] > 0
    assert centre['rgb'].view('<u4') == 0xFF0000
    assert centre['confidence'] == pytest.approx(rows[BALL]['score'], abs=1 / 255)

    markers = {(m.ns, m.id): m for m in found['markers'].markers}
    ball, box = (int(rows[i]['track_id']) for i in (BALL, BOX))
    assert {(BOXES, ball), (BOXES, box), (LABELS, ball), (LABELS, box)} <= set(markers)
    assert markers[BOXES, box].pose.position.z == pytest.approx(3, abs=0.01)
    assert markers[LABELS, ball].text.startswith(f'ball {ball}  ')
    assert all(m.lifetime.sec > 0 for m in markers.values())


def test_a_thing_that_moves_has_an_arrow_and_one_that_is_gone_is_deleted(robot):
    inputs = {'info': info_message()}
    assert robot.graph.trigger('reset_tracks').success  # the ball of other tests stands still
    first = next(NUMBERS)

    def away(number: int) -> Image:  # 2 m/s, as images are a tenth of a second apart
        return depth_message(depth_of(2 + 0.2 * (number - first)))

    for _ in range(6):
        found = robot.send('instances', 'markers', depth=away, **inputs)
    rows = read_instances(found['instances'])
    ball = int(rows['track_id'][rows['class_id'] == BALL][0])
    arrow = next(m for m in found['markers'].markers if (m.ns, m.id) == (VELOCITIES, ball))
    assert arrow.points[1].z - arrow.points[0].z == pytest.approx(2, abs=0.1)
    without = SCENE.copy()
    without[:, : WIDTH // 2] = SCENE[:, WIDTH // 2 - 1 : WIDTH // 2]
    found = robot.send('markers', depth=depth_message(), image=without, **inputs)
    deleted = {(m.ns, m.id) for m in found['markers'].markers if m.action == DELETE}
    assert deleted == {(BOXES, ball), (LABELS, ball), (VELOCITIES, ball)}


def test_a_lidar_is_labelled_under_its_own_header(robot):
    robot.send('instances', info=info_message())
    cloud = cloud_message()
    found = robot.send('cloud', info=info_message(), cloud=cloud)['cloud']
    assert found.header.frame_id == 'lidar'
    assert [field.name for field in found.fields] == [
        'x', 'y', 'z', 'ring', 'class_id', 'track_id', 'confidence'
    ]  # fmt: skip
    rows, given = read_instances(found), read_instances(cloud)
    for name in given.dtype.names:
        np.testing.assert_array_equal(rows[name], given[name])
    assert set(np.unique(rows['class_id'])) == {0, 1, BALL, BOX}
    ball = rows[(rows['x'] > 1.9) & (rows['x'] < 2.1)]
    assert (ball['class_id'] == BALL).mean() > 0.9 and ball['track_id'].max() > 0


def test_bad_input_is_said_once_and_counted_while_images_go_on(robot, node):
    good, depth = info_message(), depth_message()
    cases = [
        ({'info': info_message(focal=0.0), 'depth': depth}, 'no focal length', 'bad camera_info'),
        ({'info': info_message(size=(50, 60)), 'depth': depth}, 'for images of 60 x 50',
         'bad camera_info'),
        ({'info': good, 'depth': depth_message(np.zeros((HEIGHT, WIDTH)))}, 'holds no depth',
         'no valid pixel'),
        ({'info': good, 'depth': depth_message(np.ones((60, 60)))}, 'register it',
         'not registered'),
        ({'info': good, 'depth': depth_message(np.ones((96, 64), 'u1').repeat(3, 1), '32FC1'),
          'offset_s': 2}, 'within 50 ms', 'none near the stamp'),
    ]  # fmt: skip
    for inputs, text, reason in cases:
        before = int(robot.graph.status('depth/camera')[2][f'mismatch {reason}'])
        for _ in range(2):
            found = robot.send('instances', **inputs)
            assert np.isnan(read_instances(found['instances'])['z']).all(), text
        level, message, values = robot.graph.status('depth/camera')
        assert level == 1 and text in message
        assert int(values[f'mismatch {reason}']) >= before + 2
        assert len(re.findall(f'depth is not used: .*{text}', node.log)) == 1
    found = robot.send('instances', info=good, depth=depth)
    assert np.isfinite(read_instances(found['instances'])['z']).any()
    level, message, values = robot.graph.status('depth/camera')
    assert (level, message) == (0, 'ok') and values['offset ms'] == '0.0'


def test_a_cloud_without_positions_is_refused(robot, node):
    cloud = cloud_message()
    cloud.fields[2].name = 'height'
    robot.graph.subscribe('cloud', 'instances')
    for _ in range(3):
        robot.send('instances', info=info_message(), cloud=cloud)
    level, message, values = robot.graph.status('cloud/camera')
    assert level == 1 and 'x, y, z of a float type' in message
    assert int(values['mismatch unreadable']) >= 1 and values['topics'] == '/cloud'
    assert node.log.count('x, y, z of a float type') == 1


def test_what_nobody_subscribes_to_is_not_computed(robot):
    robot.send('segments', info=info_message(), depth=depth_message())
    used = int(robot.graph.status('depth/camera')[2]['used'])
    for _ in range(3):
        robot.send('segments', info=info_message(), depth=depth_message())
    assert int(robot.graph.status('depth/camera')[2]['used']) == used
    robot.send('points', info=info_message(), depth=depth_message())
    assert int(robot.graph.status('depth/camera')[2]['used']) > used
    timing = robot.graph.status('timing')[2]
    assert float(timing['points p50 ms']) > 0 and float(timing['metres p50 ms']) > 0
    assert {'points', 'markers', 'cloud'} == set(OUTPUTS_IN_METRES)
