# SPDX-License-Identifier: Apache-2.0
"""Metres of two cameras: a rectified one with compressed depth, and one with a lidar only."""

import signal
import struct
import time
from itertools import count

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import NodeProcess, header, image_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from tiny_model import paint_scene

from panoptic_ros import read_instances
from panoptic_ros.ros.camera import _publish_points

pytestmark = pytest.mark.ros

HEIGHT, WIDTH = 96, 192
SCENE = paint_scene(HEIGHT, WIDTH)
CAMERAS = ('front', 'rear')


@pytest.fixture(scope='module')
def node(ros_domain, tiny_model, tmp_path_factory):
    process = NodeProcess(
        tmp_path_factory.mktemp('metres') / 'log',
        {
            'model': tiny_model,
            'input_reliability': 'reliable',
            'cameras': '[front, rear]',
            'front.points.stride': 1,
            'front.points.dense': True,
        },
        *('-r', 'front/image:=/driver/rect/image'),
        *('-r', 'front/depth:=/driver/depth'),
    )
    yield process
    assert process.end(signal.SIGINT) == 0, process.log
    assert 'Traceback' not in process.log


@pytest.fixture(scope='module')
def results(node, graph):
    """Send images with depth of the front camera until both cameras have published."""
    node.wait_for_log('model is loaded')
    create = graph.node.create_publisher
    info = create(CameraInfo, '/driver/rect/camera_info', 10)  # beside the image
    depth = create(CompressedImage, '/driver/depth/compressedDepth', 10)
    rear_info = create(CameraInfo, 'rear/camera_info', 10)
    rear_cloud = create(PointCloud2, 'rear/cloud', 10)
    images = [create(Image, name, 10) for name in ('/driver/rect/image', 'rear/image')]
    results = {}
    kinds = {'instances': PointCloud2, 'points': PointCloud2}
    for camera in CAMERAS:
        for name, kind in kinds.items():
            key = camera, name
            graph.node.create_subscription(
                kind,
                f'{camera}/panoptic/{name}',
                lambda message, key=key: results.__setitem__(key, message),
                10,
            )
    numbers, end_s = count(1), time.monotonic() + 60

    def complete():
        rows = results.get(('front', 'instances'))
        return (
            rows is not None
            and np.isfinite(read_instances(rows)['z']).any()
            and {('front', 'points'), ('rear', 'instances')} <= set(results)
            and 'cloud is not used' in node.log
        )

    while not complete():
        assert time.monotonic() < end_s, node.log
        number = next(numbers)
        stamp = header(number)
        info.publish(rectified_info(stamp))
        depth.publish(compressed_depth(stamp))
        rear_info.publish(rectified_info(stamp))
        rear_cloud.publish(one_point(stamp))
        graph.spin(0.1)
        for publisher in images:
            publisher.publish(image_message(SCENE, number))
        graph.spin(0.3)
    yield results


def rectified_info(stamp) -> CameraInfo:
    """A calibration whose K and D would give other positions than its P."""
    message = CameraInfo(header=stamp, height=HEIGHT, width=WIDTH, distortion_model='plumb_bob')
    message.k = [999.0, 0.0, 9.0, 0.0, 999.0, 9.0, 0.0, 0.0, 1.0]
    message.d = [-0.4, 0.2, 0.0, 0.0, 0.0]
    message.p = [150.0, 0.0, WIDTH / 2, 0.0, 0.0, 150.0, HEIGHT / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def compressed_depth(stamp) -> CompressedImage:
    depth = np.full((HEIGHT, WIDTH), 2000, np.uint16)
    depth[: HEIGHT // 4] = 0
    png = cv2.imencode('.png', depth)[1].tobytes()
    return CompressedImage(
        header=stamp,
        format='16UC1; compressedDepth png',
        data=struct.pack('<iff', 0, 0.0, 0.0) + png,
    )


def one_point(stamp) -> PointCloud2:
    fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate('xyz')
    ]
    return PointCloud2(
        header=stamp, height=1, width=1, fields=fields, point_step=12, row_step=12, data=bytes(12)
    )


def test_a_rectified_camera_with_compressed_depth(results):
    rows = read_instances(results['front', 'instances'])
    ball = rows[rows['class_id'] == 2][0]
    assert ball['z'] == 2
    assert ball['x'] == pytest.approx((WIDTH / 4 - 0.5 - WIDTH / 2) * 2 / 150, abs=0.03)
    assert ball['y'] == pytest.approx(0, abs=0.03)


def test_a_cloud_of_the_points_with_depth(results):
    cloud = results['front', 'points']
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, HEIGHT * 3 // 4 * WIDTH, True)
    assert (read_instances(cloud)['z'] == 2).all()


def test_a_cloud_without_a_transform_is_not_used(results, graph, node):
    level, message, values = graph.status('cloud/rear')
    assert level == 1 and 'set cloud.extrinsic' in message
    assert int(values['mismatch no transform']) > 0 and values['topics'] == '/rear/cloud'
    assert node.log.count('camera rear: cloud is not used') == 1


def test_a_camera_without_depth_has_no_metres_and_no_complaint(results, graph, node):
    rows = read_instances(results['rear', 'instances'])
    assert len(rows) and np.isnan(rows['z']).all()
    assert ('rear', 'points') not in results
    level, message, values = graph.status('depth/rear')
    assert (level, message) == (0, 'no depth has arrived') and values['used'] == '0'
    level, message, values = graph.status('depth/front')
    assert int(values['used']) > 0 and values['topics'] == '/driver/depth/compressedDepth'
    assert 'rear: depth' not in node.log and 'no depth image' not in node.log


@pytest.mark.parametrize(('limit', 'is_warned'), [(1000, True), (2000, False), (None, False)])
def test_a_cloud_above_half_of_the_shared_memory_is_warned_of(limit, is_warned):
    published, warnings = [], []

    class Outlet:
        publish = staticmethod(published.append)

        @staticmethod
        def warn(kind, text):
            warnings.append(text)

    message = PointCloud2(data=bytes(501))
    _publish_points(Outlet, limit, Outlet, message)
    assert published == [message] and bool(warnings) == is_warned
    assert all('raise points.stride' in text for text in warnings)
