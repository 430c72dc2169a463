# SPDX-License-Identifier: Apache-2.0
"""Wrapped networks: the joined graph against a slow decoder of the networks' outputs."""

import cv2
import numpy as np
import onnx
import pytest
import torch
from graphs import assert_same, assert_tensorrt_takes, random_image, run_onnx
from onnx import TensorProto
from plain_networks import (
    SIZE,
    assert_segments,
    network_input,
    planted,
    slow_candidates,
    slow_merge,
    slow_select,
    write_classes,
    write_network,
)

from panoptic_ros.core.card import check_card
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import info_to_json, load_onnx, read_info, reference_from_onnx
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD
from panoptic_ros.models.plain_onnx.semantic import read_cells
from panoptic_ros.runtime import Predictor, open_backend
from panoptic_ros.runtime.batch import run_images
from panoptic_training.plain_onnx.joining import Prepare
from panoptic_training.plain_onnx.licence import card_of
from panoptic_training.plain_onnx.part import Source, read_part
from panoptic_training.plain_onnx.source import InputSettings
from panoptic_training.plain_onnx.wrap import wrap

NAMES = {'names': "{0: 'car', 1: \"driver's dog\", 2: 'person'}", 'stride': '32'}
FAST = {'top_k': 6, 'candidates': 24}
IMAGES = [random_image(SIZE, seed) for seed in range(2)]
OVERLAP = 0.5


def wrapped(sources, path, **settings):
    info = wrap(sources, path, name='wrapped', **{**FAST, **settings})
    model = load_onnx(path)  # which checks operators and files
    onnx.checker.check_model(model, full_check=True)
    assert reference_from_onnx(model, info, path)
    assert info_to_json(read_info(path)) == info_to_json(info)
    return path


def yolo(path, layout, seed=0, outputs_type=np.float32, **settings):
    """A YOLO network and the function from the mean red to its candidates."""
    box, prob, coefficients, maps = planted(seed=seed)
    objectness = np.linspace(0.6, 1, len(box), dtype=np.float32)[:, None]
    corners = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)
    best = prob.argmax(axis=1)
    tables = {
        'yolo-seg': np.concatenate([box, prob, coefficients], axis=1).T,
        'yolov5-seg': np.concatenate([box, objectness, prob, coefficients], axis=1),
        'yolo-seg-end2end': np.concatenate(
            [corners, prob.max(axis=1, keepdims=True), best[:, None], coefficients], axis=1
        ),
    }
    table = np.float32(tables[layout])[None]
    slope = np.zeros_like(table)
    if layout == 'yolo-seg':
        slope[0, 4:7] = -0.1  # of the probabilities
    elif layout == 'yolov5-seg':
        slope[0, :, 4] = -0.1
    else:
        slope[0, :, 4] = -0.1
    write_network(
        path,
        {'output0': table.astype(outputs_type), 'output1': maps[None].astype(outputs_type)},
        {'output0': slope},
        metadata=NAMES,
        **settings,
    )

    def candidates(red):
        scores = {
            'yolo-seg': prob.max(axis=1) - 0.1 * red,
            'yolov5-seg': prob.max(axis=1) * (objectness[:, 0] - 0.1 * red),
            'yolo-seg-end2end': prob.max(axis=1) - 0.1 * red,
        }
        return slow_candidates(
            box, scores[layout], best, lambda i: np.tensordot(coefficients[i], maps, 1)
        )

    return candidates


@pytest.mark.parametrize(
    ('layout', 'stride'), [('yolo-seg', 4), ('yolov5-seg', 2), ('yolo-seg-end2end', 4)]
)
def test_yolo_is_decoded_as_its_layout_says(tmp_path, layout, stride):
    candidates = yolo(tmp_path / 'net.onnx', layout)
    path = wrapped([Source(tmp_path / 'net.onnx', layout)], tmp_path / 'x.onnx', stride=stride)
    nms = {'yolo-seg': 0.7, 'yolov5-seg': 0.45}.get(layout)
    counts = []
    for image in IMAGES:
        for threshold in (0.25, 0.7, 1.0):
            chosen = slow_select(candidates(network_input(image)), threshold, nms, FAST['top_k'])
            out = run_onnx(path, image, {'score_threshold': threshold})
            assert_segments(out, *slow_merge(chosen, SIZE, stride, OVERLAP))
            counts.append(len(chosen))
    assert FAST['top_k'] in counts and 0 in counts  # more than rows, and none
    assert ('nms_threshold' in read_info(path).thresholds) == (nms is not None)
    assert_tensorrt_takes(path)


def test_a_batch_runs_the_network_for_each_image(tmp_path):
    yolo(tmp_path / 'net.onnx', 'yolo-seg')
    source = [Source(tmp_path / 'net.onnx', 'yolo-seg')]
    files = [wrapped(source, tmp_path / f'{n}.onnx', batch=n) for n in (1, 2)]
    results = []
    for path in files:
        info = read_info(path)
        thresholds = [
            {name: value.default for name, value in info.thresholds.items()}
            | {'score_threshold': (0.25, 1.0)[i]}
            for i in range(len(IMAGES))
        ]
        backend = open_backend(path, 'onnxruntime', 'cpu')
        results.append(run_images(backend.run, info, IMAGES, thresholds))
    for alone, together in zip(*results, strict=True):
        assert_same(together._asdict(), alone._asdict())
    assert len({int(outputs.valid.sum()) for outputs in results[0]}) > 1
    assert_tensorrt_takes(files[1])


def test_rf_detr_has_a_mask_for_each_box(tmp_path):
    box, prob, _, maps = planted(prototypes=24, seed=2)
    logits = np.log(prob / (1 - prob))
    sides = np.float32([SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
    net = write_network(
        tmp_path / 'net.onnx',
        {'dets': np.clip(box / sides, 0, 1)[None], 'labels': logits[None], 'masks': maps[None]},
        {'labels': 0.1},
    )
    # Channel 0 is no class, as in COCO's numbering from 1.
    classes = write_classes(tmp_path / 'c.yaml', (1, 'dog', 'thing'), (2, 'car', 'thing'))
    path = wrapped([Source(net, 'rf-detr-seg', classes)], tmp_path / 'x.onnx')
    assert read_info(path).thresholds['score_threshold'].default == 0.5
    red = network_input(IMAGES[0], 1 / 255, IMAGENET_MEAN, IMAGENET_STD)
    score = 1 / (1 + np.exp(-(logits + 0.1 * red)))
    best = score.argmax(axis=1)
    boxes = np.clip(box / sides, 0, 1) * sides
    found = slow_candidates(boxes, score.max(axis=1), best - 1, lambda i: maps[i])
    found = [(*c[:2], -np.inf, -np.inf, np.inf, np.inf, c[6]) for c in found]  # masks are whole
    for threshold in (0.3, 0.5):
        chosen = slow_select(found, threshold, None, FAST['top_k'])
        out = run_onnx(path, IMAGES[0], {'score_threshold': threshold})
        assert chosen
        assert_segments(out, *slow_merge(chosen, SIZE, 4, OVERLAP))


SEMANTIC = [('road', 'stuff'), ('sky', 'stuff'), ('Car', 'thing'), ('rider', 'thing')]


def semantic_values(stride, seed=5, channels=5):
    """Logits (1, C, h, w) of patches; the last channel has no class."""
    rng = np.random.default_rng(seed)
    height, width = (n // stride for n in SIZE)
    coarse = rng.normal(0, 3, (channels, height // 2, width // 2))
    return np.float32(np.kron(coarse, np.ones((1, 2, 2))))[None]


def slow_stuff(values, stuff, probabilities=False, stride=4):
    """Class of each cell, -1 if it is not stuff, and its probability, by the definition."""
    height, width = (n // stride for n in SIZE)
    planes = [cv2.resize(plane, (width, height)) for plane in values[0]]
    classes, prob = np.full((height, width), -1), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            cell = np.array([plane[y, x] for plane in planes], np.float64)
            if not probabilities:
                cell = np.exp(cell - cell.max())
                cell /= cell.sum()
            best = int(cell.argmax())
            classes[y, x] = best if best in stuff else -1
            prob[y, x] = cell[best]
    return classes, prob


def class_file(folder):
    rows = [(i, name, kind) for i, (name, kind) in enumerate(SEMANTIC)]
    return write_classes(folder / 'classes.yaml', *rows)


def slow_components(classes, prob, is_thing, min_area):
    """[(class, score, mask)] and the map of classes: things are connected cells of a class."""
    segments, class_map = [], np.full(classes.shape, 255, np.uint8)
    for class_id in sorted(set(classes.ravel().tolist()) - {-1}):
        count, parts = 1, (classes == class_id).astype(int)
        if is_thing[class_id]:
            count, parts = cv2.connectedComponents(parts.astype(np.uint8), connectivity=4)
            count -= 1
        for number in range(1, count + 1):
            mask = parts == number
            if not is_thing[class_id] or 16 * mask.sum() >= min_area:
                segments.append((class_id, float(prob[mask].mean()), mask))
                class_map[mask] = class_id
    return segments, class_map


@pytest.mark.parametrize('form', ['logits', 'ids'])
@pytest.mark.parametrize('has_things', [True, False])
def test_a_semantic_map_becomes_stuff_and_components(tmp_path, caplog, form, has_things):
    values = semantic_values(8)
    if form == 'ids':
        values = values.argmax(axis=1)
        values[0, :2] = -1
        values[0, 2] = 200
    net = write_network(tmp_path / 'net.onnx', {'out': values})
    kinds = [(name, kind if has_things else 'stuff') for name, kind in SEMANTIC]
    rows = [(i, name, kind) for i, (name, kind) in enumerate(kinds)]
    file = write_classes(tmp_path / 'classes.yaml', *rows)
    path = wrapped([Source(net, 'semantic', file)], tmp_path / 'x.onnx')
    info = read_info(path)
    is_thing = [kind == 'thing' for _, kind in kinds]
    assert info.labels.is_thing.tolist() == is_thing
    assert ('its things (Car, rider) become the connected' in caplog.text) == has_things
    assert ('connected components' in info.embedding_kind) == has_things
    assert info.config['semantic'] == form
    if form == 'ids':
        ids = np.kron(values[0], np.ones((2, 2), int))
        classes, prob = np.where((ids >= 0) & (ids < 4), ids, -1), np.ones(ids.shape)
    else:
        classes, prob = slow_stuff(values, range(4))
    assert info.thresholds['min_area'].default == 256
    for threshold, min_area in ((0.0, 256.0), (0.6, 48.0)):
        sure = np.where(prob >= threshold, classes, -1)
        limits = {'score_threshold': threshold, 'min_area': min_area}
        out = run_onnx(path, IMAGES[0], limits)
        assert_segments(out, *slow_components(sure, prob, is_thing, min_area))
    assert_tensorrt_takes(path)


@pytest.mark.parametrize('last', [False, True])
def test_probabilities_are_recognised_in_both_orders(tmp_path, last):
    values = np.exp(semantic_values(8))
    values /= values.sum(axis=1, keepdims=True)
    net = write_network(
        tmp_path / 'net.onnx', {'out': np.moveaxis(values, 1, 3) if last else values}
    )
    part = read_part(Source(net, 'semantic', class_file(tmp_path)))
    assert (part.match.layout, part.match.channels_last) == ('probabilities', last)
    class_id, prob = read_cells(
        part.match.layout,
        torch.from_numpy(part.samples[0]),
        torch.tensor(part.classes.class_of_channel),
        (16, 24),
        part.match.channels_last,
    )
    classes, expected = slow_stuff(values, range(4), probabilities=True)
    np.testing.assert_array_equal(class_id, classes)
    np.testing.assert_allclose(prob, expected, atol=1e-5)


def test_instances_and_stuff_are_merged_by_score(tmp_path, caplog):
    candidates = yolo(tmp_path / 'things.onnx', 'yolo-seg', seed=3)
    values = semantic_values(4)
    write_network(tmp_path / 'stuff.onnx', {'out': values})
    path = wrapped(
        [
            Source(tmp_path / 'stuff.onnx', 'semantic', class_file(tmp_path)),
            Source(tmp_path / 'things.onnx', 'yolo-seg'),
        ],
        tmp_path / 'x.onnx',
    )
    labels = read_info(path).labels
    assert labels.names == ('road', 'sky', 'Car', 'rider', "driver's dog", 'person')
    assert labels.is_thing.tolist() == [False, False, True, True, True, True]
    assert 'does not know rider' in caplog.text
    class_of = [2, 4, 5]
    for overlap in (0.1, 0.5):
        found = [(c[0], class_of[c[1]], *c[2:]) for c in candidates(network_input(IMAGES[1]))]
        chosen = slow_select(found, 0.25, 0.7, FAST['top_k'])
        out = run_onnx(path, IMAGES[1], {'overlap_threshold': overlap})
        stuff = slow_stuff(values, (0, 1))
        segments, class_map = slow_merge(chosen, SIZE, 4, overlap, stuff)
        assert_segments(out, segments, class_map)
        assert {0, 1, 2, 255} <= set(class_map.ravel().tolist())
    assert_tensorrt_takes(path)


def test_queries_are_decoded_like_those_of_transformers(tmp_path):
    rng = np.random.default_rng(1)
    logits = np.float32(rng.normal(0, 3, (1, 12, 4)))
    owner = rng.integers(0, 14, (4, 6))  # of each block, two of them nobody's
    coarse = np.where(owner == np.arange(12)[:, None, None], 4, -4) + rng.normal(0, 1, (12, 4, 6))
    masks = np.float32(np.kron(coarse, np.ones((4, 4))))[None]
    boxes = np.zeros((1, 12, 4), np.float32)
    net = write_network(
        tmp_path / 'net.onnx', {'logits': logits, 'pred_boxes': boxes, 'pred_masks': masks}
    )
    classes = write_classes(
        tmp_path / 'c.yaml', (0, 'road', 'stuff'), (1, 'car', 'thing'), (2, 'dog', 'thing')
    )
    path = tmp_path / 'x.onnx'
    info = wrap([Source(net, 'queries', classes)], path, name='queries')
    assert info.family == 'onnx_queries' and info.labels.names == ('road', 'car', 'dog')
    out = run_onnx(path, IMAGES[0], {})
    # The definition: the query of the largest product of mask and class probability has the cell.
    prob = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=1, keepdims=True)
    best, score = prob.argmax(axis=1), prob.max(axis=1)
    weighted = score[:, None, None] / (1 + np.exp(-masks[0]))
    weighted[(best == 3) | (score <= 0.5)] = -1
    winner = weighted.argmax(axis=0)
    expected = np.full(winner.shape, 255)
    for query in range(12):
        own, won = weighted[query] >= 0.5, winner == query
        if weighted[query].max() >= 0 and own.any() and won.sum() > 0.8 * own.sum():
            expected[won] = best[query]
    np.testing.assert_array_equal(out['semantic_map'], expected)
    assert set(expected.ravel().tolist()) == {0, 1, 2}


@pytest.mark.parametrize('channels_first', [True, False])
@pytest.mark.parametrize(
    ('settings', 'kind', 'expected'),
    [
        (InputSettings(), TensorProto.FLOAT, lambda image: image / 255),
        (InputSettings(), TensorProto.FLOAT16, lambda image: image / 255),
        (InputSettings(), TensorProto.UINT8, lambda image: image),
        (InputSettings(order='bgr'), TensorProto.UINT8, lambda image: image[..., ::-1]),
        (InputSettings(scale=1.0), TensorProto.FLOAT, lambda image: image),
        (
            InputSettings(order='bgr', scale=1.0, mean=(120.0, 60, 0), std=(50.0, 2, 3)),
            TensorProto.FLOAT,
            lambda image: ((image - (120.0, 60, 0)) / (50.0, 2, 3))[..., ::-1],
        ),
    ],
)
def test_the_network_receives_the_image_as_it_expects_it(
    tmp_path, settings, kind, expected, channels_first
):
    box, prob, coefficients, maps = planted()
    table = np.concatenate([box, prob, coefficients], axis=1).T[None]
    net = write_network(
        tmp_path / 'net.onnx',
        {'output0': table, 'output1': maps[None]},
        metadata=NAMES,
        input_type=kind,
        channels_first=channels_first,
    )
    part = read_part(Source(net, 'yolo-seg', input=settings))
    assert part.network.takes_bytes == (kind == TensorProto.UINT8)
    (given,) = Prepare([part])(torch.from_numpy(IMAGES[0]))
    pixels = expected(IMAGES[0])
    pixels = np.moveaxis(pixels, 2, 0) if channels_first else pixels
    # Bytes are given as floats, since TensorRT has no operations on bytes.
    expected_type = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    assert given.numpy().dtype == expected_type
    np.testing.assert_allclose(given.numpy()[0], pixels, rtol=1e-3, atol=1e-3)
    chart = part.network.sample(part.settings)  # the test image gets the same normalisation
    assert chart.dtype == given.numpy().dtype and chart.shape == tuple(given.shape)


def test_an_old_graph_of_any_size_and_batch_in_half_precision(tmp_path):
    candidates = yolo(
        tmp_path / 'net.onnx',
        'yolo-seg-end2end',
        seed=1,
        size=('h', 'w'),
        batch='n',
        opset=11,
        input_type=TensorProto.FLOAT16,
        outputs_type=np.float16,
    )
    source = Source(tmp_path / 'net.onnx', 'yolo-seg-end2end', input=InputSettings(SIZE, 'bgr'))
    path = wrapped([source], tmp_path / 'x.onnx', precision='fp16', half_weights=True)
    blue = IMAGES[0][..., ::-1]
    chosen = slow_select(candidates(network_input(blue)), 0.25, None, FAST['top_k'])
    expected, class_map = slow_merge(chosen, SIZE, 4, OVERLAP)
    out = run_onnx(path, IMAGES[0], {})
    assert (out['semantic_map'] == class_map).mean() > 0.98
    assert out['valid'].sum() == len(expected) > 1


def test_a_camera_image_of_another_shape_is_letterboxed(tmp_path):
    candidates = yolo(tmp_path / 'net.onnx', 'yolo-seg', seed=4)
    path = wrapped([Source(tmp_path / 'net.onnx', 'yolo-seg')], tmp_path / 'x.onnx')
    predictor = Predictor(open_backend(path, 'onnxruntime', 'cpu'), read_info(path))
    camera = np.kron(IMAGES[0][:40, :90], np.ones((3, 3, 1), np.uint8))
    pixels, geometry = predictor.prepare(CameraImage(camera))
    rows, columns = geometry.map_size
    assert rows < SIZE[0] // 4 and geometry.content_size != SIZE
    chosen = slow_select(candidates(network_input(pixels)), 0.25, 0.7, FAST['top_k'])
    segments, _ = slow_merge(chosen, SIZE, 4, OVERLAP)
    expected = {
        m[:rows, :columns].tobytes(): c for c, _, m in segments if m[:rows, :columns].any()
    }
    frame = predictor.predict(camera)
    found = {
        (frame.segment_map == row['segment_id']).tobytes(): row['class_id']
        for row in frame.segments
    }
    assert found == expected and found
    assert (frame.segments['bbox_x'] + frame.segments['bbox_w'] <= camera.shape[1]).all()


def test_the_licence_in_the_metadata_becomes_the_card(tmp_path):
    licence = 'AGPL-3.0 License (https://ultralytics.com/license)'
    own = {'license': licence, 'author': 'Ultra\nlytics\x1b[31m'}
    networks = {}
    for name, metadata in (('a', own), ('b', {}), ('c', {'license': 'x' * 5000})):
        path = write_network(
            tmp_path / f'{name}.onnx', {'out': semantic_values(8)}, metadata=metadata
        )
        networks[name] = read_part(Source(path, 'semantic', class_file(tmp_path))).network
    stated = f'{licence}, Ultra lytics\\x1b[31m'
    assert card_of([networks['a']]) == {'weights_licence': stated}
    assert card_of([networks['b']]) == {}
    both = f'a.onnx: {stated}; b.onnx: not stated'
    assert card_of([networks['a'], networks['b']]) == {'weights_licence': both}
    check_card(card_of([networks['c'], networks['a']]))
    source = Source(tmp_path / 'a.onnx', 'semantic', class_file(tmp_path))
    assert read_info(wrapped([source], tmp_path / 'x.onnx')).card['weights_licence'] == stated
    wrap([source], tmp_path / 'y.onnx', name='y', card={'limits': 'none'})
    assert read_info(tmp_path / 'y.onnx').card == {'limits': 'none'}
