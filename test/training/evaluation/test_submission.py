# SPDX-License-Identifier: Apache-2.0
"""What is sent to COCO's and Cityscapes' servers, scored as panopticapi would."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.cli.main import main
from panoptic_ros.core.coco_format import categories
from panoptic_ros.core.id_png import write_png
from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.data.cityscapes import LABELS, Cityscapes
from panoptic_training.data.class_mapping import MappedClasses
from panoptic_training.data.coco import CocoPanoptic
from panoptic_training.data.registry import DATASETS, open_reader
from panoptic_training.data.skipping import Skipping
from panoptic_training.evaluation.predictions import PredictionStore
from panoptic_training.evaluation.submission import write_submission
from panoptic_training.export import export_model

SIZE = (16, 32)
NAMES = ('bonn_000000_000019', 'ulm_000001_000019')


@pytest.fixture
def reader(tmp_path):
    """Two images of road and car in Cityscapes' layout."""
    for name in NAMES:
        city = name.partition('_')[0]
        for kind, suffix in (('leftImg8bit', 'leftImg8bit'), ('gtFine', 'gtFine_instanceIds')):
            folder = tmp_path / 'data' / kind / 'val' / city
            folder.mkdir(parents=True)
            ids = np.full(SIZE, 7, np.uint16)
            ids[4:8, 4:12], ids[10:, 20:], ids[0] = 26, 26001, 3
            cv2.imwrite(
                str(folder / f'{name}_{suffix}.png'),
                np.zeros((*SIZE, 3), np.uint8) if kind == 'leftImg8bit' else ids,
            )
    return Cityscapes(tmp_path / 'data', 'val')


def test_cityscapes(tmp_path, reader):
    """Ids of images and categories are the data set's own; scores and tracks stay at home."""
    ids = np.ones(SIZE, np.uint32)
    ids[10:, 18:] = 2  # the car and a bit
    store = PredictionStore(tmp_path / 'out', LABELS, reader.image_ids, reader.image_names)
    data = f'cityscapes:{tmp_path / "data"}'
    car = LABELS.names.index('car')
    for index in range(2):
        assert (
            write_submission(store, reader.submission, 'val', 'm', tmp_path / 'submission') is None
        )
        store.write(index, make_frame(ids, {1: 0, 2: car}, LABELS, 0.5, 3))
    path = write_submission(store, reader.submission, 'val', 'm', tmp_path / 'submission')
    assert path == tmp_path / 'submission/cityscapes_panoptic_val.zip'
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == [
            'cityscapes_panoptic_val.json',
            *(f'cityscapes_panoptic_val/{name}.png' for name in NAMES),
        ]
        file.extractall(tmp_path / 'sent')
    document = json.loads((tmp_path / 'sent/cityscapes_panoptic_val.json').read_text())
    assert document == {
        'annotations': [
            {
                'image_id': name,
                'file_name': f'{name}.png',
                'segments_info': [{'id': 1, 'category_id': 7}, {'id': 2, 'category_id': 26}],
            }
            for name in NAMES
        ]
    }
    scores = tmp_path / 'scores.json'
    assert (
        main(
            [
                'evaluate',
                '--predictions',
                str(tmp_path / 'sent/cityscapes_panoptic_val.json'),
                '--data',
                data,
                '--json',
                str(scores),
            ]
        )
        == 0
    )
    found = {row['name']: row['pq'] for row in json.loads(scores.read_text())['per_class']}
    assert found['car'] == pytest.approx(100 * (6 * 12) / (6 * 14))
    road = 16 * 32 - 32 - 4 * 8 - 6 * 12  # without void, crowd and car
    assert found['road'] == pytest.approx(100 * (road - 6 * 2) / (road + 4 * 8))


@pytest.fixture
def coco(tmp_path):
    """Return a function that opens one photo with given classes in one of COCO's layouts."""

    def open_one(labels: LabelSet, name: str) -> CocoPanoptic:
        path, masks, images = (
            (tmp_path / f'{name}.json', tmp_path / f'panoptic_{name}', tmp_path / name)
            if name == 'val'
            else (
                tmp_path / f'annotations/{name}.json',
                tmp_path / f'annotations/{name}',
                tmp_path / 'val2017',
            )
        )
        masks.mkdir(parents=True)
        images.mkdir()
        cv2.imwrite(str(images / '000000000139.jpg'), np.zeros((*SIZE, 3), np.uint8))
        write_png(np.ones(SIZE, np.uint32), masks / '000000000139.png')
        size = {'height': SIZE[0], 'width': SIZE[1]}
        segments = [{'id': 1, 'category_id': labels.labels[0].category_id, 'iscrowd': 0}]
        document = {
            'images': [{'id': 139, 'file_name': '000000000139.jpg', **size}],
            'annotations': [
                {'image_id': 139, 'file_name': '000000000139.png', 'segments_info': segments}
            ],
            'categories': categories(labels),
        }
        path.write_text(json.dumps(document))
        return CocoPanoptic(tmp_path, 'val')

    return open_one


def submission(reader, folder, model: str) -> Path | None:
    """Predict the only image of a reader and write the submission."""
    store = PredictionStore(folder, reader.labels, reader.image_ids, reader.image_names)
    store.write(0, make_frame(np.ones(SIZE, int), {1: 0}, reader.labels))
    return write_submission(store, reader.submission, 'val', model, folder / 'submission')


def test_cocos_name_tells_the_model(tmp_path, coco):
    reader = coco(CocoPanoptic.labels, 'panoptic_val2017')
    path = submission(Skipping(reader, {}), tmp_path / 'out', 'my model.v2')
    assert path.name == 'panoptic_val2017_my-model-v2_results.zip'
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == [
            'panoptic_val2017_my-model-v2_results.json',
            'panoptic_val2017_my-model-v2_results/000000000139.png',
        ]


@pytest.mark.parametrize(
    ('labels', 'name'),
    [
        (LABELS, 'panoptic_val2017'),  # own classes in COCO's layout
        (CocoPanoptic.labels, 'val'),  # COCO's classes in the layout of own data
        (LABELS, 'val'),
    ],
)
def test_own_data_in_cocos_format_has_no_server(tmp_path, coco, labels, name):
    reader = coco(labels, name)
    assert submission(reader, tmp_path / 'out', 'm') is None
    assert not (tmp_path / 'out/submission').exists()


def test_mapped_classes_are_not_submitted(tmp_path, coco):
    reader = coco(CocoPanoptic.labels, 'panoptic_val2017')
    assert submission(MappedClasses(reader, reader.labels, {}), tmp_path / 'out', 'm') is None


def test_other_data_has_no_server():
    """Every reader says which it is."""
    assert {name for name, row in DATASETS.items() if row.submission} == {'cityscapes'}


def test_images_without_annotations_are_predicted_and_packed(tmp_path, capsys):
    """COCO's test-dev: a list of images; its categories are those of the things only."""
    (tmp_path / 'coco/annotations').mkdir(parents=True)
    (tmp_path / 'coco/test2017').mkdir()
    names = ('000000000001.jpg', '000000000016.jpg')
    for name in names:
        cv2.imwrite(str(tmp_path / 'coco/test2017' / name), np.full((64, 96, 3), 90, np.uint8))
    (tmp_path / 'coco/annotations/image_info_test-dev2017.json').write_text(
        json.dumps(
            {
                'images': [
                    {'id': int(name[:12]), 'file_name': name, 'height': 64, 'width': 96}
                    for name in names
                ],
                'categories': [{'id': 1, 'name': 'person', 'supercategory': 'person'}],
            }
        )
    )
    torch.manual_seed(0)
    model = build('hle', CocoPanoptic.labels, **FAMILIES['hle'].small).eval()
    export_model(model, tmp_path / 'm.onnx', (64, 96), name='coco net')
    words = ['evaluate', '--model', str(tmp_path / 'm.onnx'), '--split', 'test']
    words += ['--data', f'coco:{tmp_path / "coco"}', '-o', str(tmp_path / 'out')]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert 'predictions and no scores' in printed and '2 images predicted' in printed
    stem = 'panoptic_test-dev2017_coco-net_results'
    with zipfile.ZipFile(tmp_path / f'out/submission/{stem}.zip') as file:
        pngs = [f'{stem}/{name[:12]}.png' for name in names]
        assert sorted(file.namelist()) == [f'{stem}.json', *pngs]
        annotations = json.loads(file.read(f'{stem}.json'))['annotations']
        for entry, name in zip(annotations, names, strict=True):
            assert (entry['image_id'], entry['file_name']) == (int(name[:12]), f'{name[:12]}.png')
            png = cv2.imdecode(np.frombuffer(file.read(f'{stem}/{entry["file_name"]}'), 'u1'), 1)
            ids = png[..., 2] + 256 * png[..., 1].astype(int) + 65536 * png[..., 0].astype(int)
            assert set(np.unique(ids)) - {0} == {s['id'] for s in entry['segments_info']}
            known = {label.category_id for label in CocoPanoptic.labels.labels}
            assert {s['category_id'] for s in entry['segments_info']} <= known


def test_own_images_without_annotations_are_void(tmp_path):
    (tmp_path / 'test').mkdir()
    cv2.imwrite(str(tmp_path / 'test/a.png'), np.zeros((*SIZE, 3), np.uint8))
    document = {
        'images': [{'id': 5, 'file_name': 'a.png', 'height': SIZE[0], 'width': SIZE[1]}],
        'categories': categories(LABELS),
    }
    (tmp_path / 'test.json').write_text(json.dumps(document))
    reader = open_reader(f'coco:{tmp_path}', 'test')
    sample = reader.read(0, 0)
    assert reader.labels == LABELS and reader.image_ids == [5] and not reader.submission
    assert (sample.class_map == VOID_ID).all() and not sample.instance_map.any()
    (tmp_path / 'test.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'neither .*test-dev2017.* nor test\.json'):
        open_reader(f'coco:{tmp_path}', 'test')
