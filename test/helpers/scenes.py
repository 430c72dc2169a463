# SPDX-License-Identifier: Apache-2.0
"""Scenes of frames, for tests of what is made of them."""

import numpy as np
from camera_infos import camera_info, depth_image, point_cloud

from panoptic_ros.node.parameters import BY_NAME
from panoptic_ros.node.scene import Metres, Scene

IN_PLACE = '0 0 0  0.5 -0.5 0.5 0.5'
"""Extrinsic of a lidar (x forward, y left, z up) at the camera."""


def warn_nothing(kind, text):
    raise AssertionError(f'unexpected warning: {text}')


def make_scene(
    frame, header, depth_m=None, cloud=None, metres: Metres | None = None, **settings
) -> Scene | None:
    """Return the scene of a frame whose camera has its principal point in the middle.

    Args:
        frame: the frame.
        header: of the image, the depth and the cloud.
        depth_m: (H, W) depth, m.
        cloud: PointCloud2 of a lidar at the camera.
        metres: inputs of earlier images.
        settings: values of parameters, with _ in place of the dot.
    """
    metres = metres or Metres(warn_nothing)
    height, width = frame.geometry.image_size
    k = (width, 0, width / 2, 0, width, height / 2, 0, 0, 1)
    metres.calibration.receive(camera_info(k=k, size=(height, width)), rectified=False)
    stamp_ns = header.stamp.sec * 10**9 + header.stamp.nanosec
    if depth_m is not None:
        metres.depth.receive(depth_image(np.asarray(depth_m), '32FC1'), stamp_ns, 0.0)
    if cloud is not None:
        cloud.header = header
        metres.cloud.receive(cloud, stamp_ns, 0.0)
    values = {name: setting.default for name, setting in BY_NAME.items()}
    values |= {'cloud.extrinsic': IN_PLACE}
    values |= {name.replace('_', '.', 1): value for name, value in settings.items()}
    return metres.scene(header, frame, values)


def lidar_cloud(size, depth_m, step=2, types=None):
    """Return a PointCloud2 with the points of every `step`-th pixel; see `make_scene`.

    Args:
        size: (height, width) of the image.
        depth_m: (H, W) depth, m.
        step: distance of the points, px.
        types: makes the message; None for one without a library.
    """
    v, u = np.mgrid[0 : size[0] : step, 0 : size[1] : step].reshape(2, -1)
    z = np.broadcast_to(depth_m, size)[v, u]
    x, y = (u - size[1] / 2) * z / size[1], (v - size[0] / 2) * z / size[1]
    message = point_cloud({'x': z.astype('f4'), 'y': -x.astype('f4'), 'z': -y.astype('f4')})
    if types is None:
        return message
    values = dict(vars(message))
    values['fields'] = [
        types.make('sensor_msgs/msg/PointField', **vars(field)) for field in message.fields
    ]
    data = types.buffer(len(message.data))
    np.frombuffer(data, np.uint8)[:] = np.frombuffer(message.data, np.uint8)
    return types.make('sensor_msgs/msg/PointCloud2', **values | {'data': data})
