# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files with the outputs of known networks, and a slow decoder of them.

An output is a constant plus a slope times the mean of the input's red channel, so that results
depend on the image, its layout and its normalisation.
"""

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 64, 96
KINDS = {np.dtype(np.float32): 1, np.dtype(np.float16): 10, np.dtype(np.int64): 7}


def write_network(
    path,
    outputs,
    slopes=(),
    size=SIZE,
    metadata=(),
    opset=17,
    channels_first=True,
    input_type=TensorProto.FLOAT,
    red=0,
    batch=1,
):
    """Write a network; `outputs` are its constants by name."""
    nodes, weights = [], []

    def constant(name, value):
        weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(kind, *inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    images = 'images'
    if input_type != TensorProto.FLOAT:
        images = add('Cast', images, output='floats', to=TensorProto.FLOAT)
    if not channels_first:
        images = add('Transpose', images, output='first', perm=[0, 3, 1, 2])
    mean = add('GlobalAveragePool', images, output='mean')
    mean = add('Reshape', mean, constant('row', np.array([1, 3])), output='colours')
    chosen = np.zeros((3, 1), np.float32)
    chosen[red] = 1
    mean = add('MatMul', mean, constant('chosen', chosen), output='red')
    values = []
    for name, value in outputs.items():
        value = np.asarray(value)
        kind = KINDS[value.dtype]
        scalar = add(
            'Reshape',
            mean,
            constant(f'{name}_rank', np.ones(value.ndim, np.int64)),
            output=f'{name}_r',
        )
        slope = np.float32(dict(slopes).get(name, 0))
        slope = (
            np.broadcast_to(slope, value.shape) if slope.ndim else slope.reshape((1,) * value.ndim)
        )
        scaled = add(
            'Mul', scalar, constant(f'{name}_slope', slope.astype(np.float32)), output=f'{name}_s'
        )
        floats = add('Cast', scaled, output=f'{name}_c', to=kind) if kind != 1 else scaled
        add('Add', constant(f'{name}_0', value), floats, output=name)
        values.append(helper.make_tensor_value_info(name, kind, value.shape))
    shape = [batch, 3, *size] if channels_first else [batch, *size, 3]
    graph = helper.make_graph(
        nodes,
        'network',
        [helper.make_tensor_value_info('images', input_type, shape)],
        values,
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


def write_classes(path, *classes):
    """Write a class file of (id, name, kind)."""
    lines = [f'  - {{id: {i}, name: {name}, kind: {kind}}}' for i, name, kind in classes]
    path.write_text('\n'.join(['classes:', *lines, '']))
    return path


def planted(size=SIZE, classes=3, count=24, prototypes=6, seed=0):
    """Random boxes (N, 4) as centre and sides, class probabilities, coefficients, prototypes."""
    rng = np.random.default_rng(seed)
    height, width = size
    centre = rng.uniform(0, 1, (count // 3, 2)) * (width, height)
    sides = rng.uniform(12, 50, (count // 3, 2))
    # Three boxes for each object, little moved, so that suppression has something to do.
    box = np.repeat(np.concatenate([centre, sides], axis=1), 3, axis=0)
    box += rng.uniform(-3, 3, box.shape)
    prob = np.repeat(rng.uniform(0, 0.5, (count // 3, classes)), 3, axis=0)
    prob[np.arange(count), np.repeat(rng.integers(0, classes, count // 3), 3)] += 0.4
    prob = np.clip(prob + rng.uniform(-0.05, 0.05, prob.shape), 0.12, 0.95)
    coefficients = np.repeat(rng.normal(0, 1, (count // 3, prototypes)), 3, axis=0)
    # The third box of every second object is another class with the rest of its mask.
    prob[2::6] = np.roll(prob[2::6], 1, axis=1)
    coefficients[2::6] *= -1
    coarse = rng.normal(0, 2, (prototypes, height // 16, width // 16))
    maps = np.kron(coarse, np.ones((1, 4, 4))) + 0.1 * rng.normal(
        0, 1, (prototypes, height // 4, width // 4)
    )
    return tuple(np.float32(part) for part in (box, prob, coefficients, maps))


def network_input(image, scale=1 / 255, mean=(0, 0, 0), std=(1, 1, 1)):
    """The mean of the red channel of an image (H, W, 3) uint8 as the network sees it."""
    return float(((image[..., 0].astype(np.float64) * scale - mean[0]) / std[0]).mean())


def slow_candidates(box, score, class_id, mask_of):
    """[(score, class, x1, y1, x2, y2, mask logits)] of boxes that are centre and sides."""
    found = []
    for i in range(len(box)):
        x, y, w, h = (float(v) for v in box[i])
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        found.append((float(score[i]), int(class_id[i]), *corners, mask_of(i)))
    return found


def slow_select(found, threshold, nms, top_k):
    """Greedy suppression per class, best first; nms None suppresses nothing."""
    kept = []
    for one in sorted(found, key=lambda c: -c[0]):
        if one[0] <= threshold or one[1] < 0:
            continue
        if nms is None or all(o[1] != one[1] or slow_iou(o, one) <= nms for o in kept):
            kept.append(one)
    return kept[:top_k]


def slow_iou(a, b):
    width = max(0.0, min(a[4], b[4]) - max(a[2], b[2]))
    height = max(0.0, min(a[5], b[5]) - max(a[3], b[3]))
    areas = [(c[4] - c[2]) * (c[5] - c[3]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow_mask(one, size, stride):
    """The mask of a candidate at a stride, cut off at its box."""
    height, width = (n // stride for n in size)
    logits = cv2.resize(one[6].astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    mask = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            inside = one[2] < (x + 0.5) * stride < one[4] and one[3] < (y + 0.5) * stride < one[5]
            mask[y, x] = inside and logits[y, x] > 0
    return mask


def slow_merge(chosen, size, stride, overlap, stuff=None):
    """[(class, score, mask)] and the class map: instances by score, then stuff in free cells.

    `stuff` is the class id of each cell, -1 for none, and its probability.
    """
    shape = [n // stride for n in size]
    coarse_taken = np.zeros([n // 4 for n in size], bool)
    taken = np.zeros(shape, bool)
    class_map = np.full(shape, 255, np.uint8)
    segments = []
    for one in chosen:
        coarse = slow_mask(one, size, 4)
        if not coarse.any() or (coarse & coarse_taken).sum() > overlap * coarse.sum():
            continue
        coarse_taken |= coarse
        mask = slow_mask(one, size, stride) & ~taken
        taken |= mask
        if mask.any():
            class_map[mask] = one[1]
            segments.append((one[1], one[0], mask))
    if stuff is not None:
        classes, prob = stuff
        for class_id in sorted(set(classes.ravel().tolist()) - {-1}):
            mask = (classes == class_id) & ~taken
            if mask.any():
                class_map[mask] = class_id
                segments.append((class_id, float(prob[mask].mean()), mask))
    return segments, class_map


def assert_segments(out, expected, class_map, atol=1e-4):
    """Check a graph's outputs against segments (class, score, mask) and a map of classes."""
    np.testing.assert_array_equal(out['semantic_map'], class_map)
    rows = np.flatnonzero(out['valid'])
    found = {}
    for row in rows:
        mask = out['segment_map'] == row + 1
        found[mask.tobytes()] = (int(out['class_id'][row]), float(out['score'][row]))
        assert mask.sum() == out['area'][row] > 0
    assert len(found) == len(rows) == len(expected)
    for class_id, score, mask in expected:
        own_class, own_score = found[mask.tobytes()]
        assert own_class == class_id
        assert abs(own_score - score) < atol
    assert set(np.unique(out['segment_map'])) - {0} == set((rows + 1).tolist())
    assert out['embedding'].shape == (len(out['valid']), 0)
