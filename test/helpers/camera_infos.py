# SPDX-License-Identifier: Apache-2.0
"""Messages with the fields of sensor_msgs, for tests without ROS."""

from types import SimpleNamespace as Message

import numpy as np

PINHOLE = (500.0, 0, 319.5, 0, 510, 239.5, 0, 0, 1)


def camera_info(
    k=PINHOLE,
    d=(),
    model='plumb_bob',
    size=(480, 640),
    p=(0.0,) * 12,
    binning=(0, 0),
    roi=(0, 0, 0, 0),
):
    """Return a CameraInfo; `size` and `binning` are (y, x), `roi` is top, left, height, width."""
    top, left, height, width = roi
    return Message(
        height=size[0],
        width=size[1],
        distortion_model=model,
        d=np.array(d, float),
        k=np.array(k, float),
        p=np.array(p, float),
        binning_x=binning[1],
        binning_y=binning[0],
        roi=Message(x_offset=left, y_offset=top, height=height, width=width, do_rectify=False),
    )


def depth_image(values, encoding, big=False, padding=0):
    """Return an Image of (H, W) numbers, with `padding` bytes after each row."""
    kind = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}[encoding]
    values = np.asarray(values).astype(('>' if big else '<') + kind)
    rows = values.view(np.uint8).reshape(len(values), -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    return Message(
        height=values.shape[0],
        width=values.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=data.shape[1],
        data=data.tobytes(),
    )


def point_cloud(columns, big=False, padding=0, height=1, row_padding=0):
    """Return a PointCloud2 with (name, values) columns, and bytes after each point and row."""
    kinds = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}
    order, fields, offset = '>' if big else '<', [], 0
    values = {name: np.asarray(column) for name, column in columns.items()}
    for name, column in values.items():
        kind = column.dtype.str[1:]
        fields.append(Message(name=name, offset=offset, datatype=kinds[kind], count=1))
        offset += column.dtype.itemsize
    step, count = offset + padding, len(next(iter(values.values())))
    rows = np.full((count, step), 0xCD, np.uint8)
    for field, column in zip(fields, values.values(), strict=True):
        size = column.dtype.itemsize
        own = column.astype(column.dtype.newbyteorder(order)).view(np.uint8).reshape(count, size)
        rows[:, field.offset : field.offset + size] = own
    data = np.pad(rows.reshape(height, -1), ((0, 0), (0, row_padding)), constant_values=0xEF)
    return Message(
        height=height,
        width=count // height,
        fields=fields,
        is_bigendian=big,
        point_step=step,
        row_step=data.shape[1],
        data=data.tobytes(),
        is_dense=False,
    )
