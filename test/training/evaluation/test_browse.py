# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation's errors, as a browser shows it."""

import csv
import json
import re

import cv2
import pytest
from browser import needs_browser, shown_page
from tiny_data import make_data
from tiny_model import LABELS

from panoptic_ros.cli.main import main
from panoptic_training.evaluation import browse

KINDS = browse.KINDS


@pytest.fixture(scope='module')
def out(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp('browse')
    data = make_data(folder / 'data', count=8)
    flags = ['--model', str(tiny_model), '--data', f'coco:{data}', '-o', str(folder / 'out')]
    assert main(['evaluate', *flags]) == 0
    return folder / 'out'


def gallery(out):
    text = (out / 'browse/index.html').read_text()
    return json.loads(re.search(r'id="gallery">(.*?)</script>', text, re.DOTALL)[1])


def names_shown(text):
    return re.findall(r'<figcaption><b>(.*?)</b>', text)


def test_it_has_the_images_scores_and_pictures(out):
    data = gallery(out)
    with (out / 'images.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [one['name'] for one in data['items']] == [row['image'] for row in rows]
    assert [one['numbers']['pq'] for one in data['items']] == [float(row['pq']) for row in rows]
    for one, row in zip(data['items'], rows, strict=True):
        unmatched = [kind for kind in KINDS if kind not in ('extra', 'split')]
        assert sum(one['numbers'][kind] for kind in unmatched) == int(row['fn'])
        picture = cv2.imread(str(out / 'browse' / one['picture']))
        assert picture.shape[1] == 3 * browse.PANEL_WIDTH
    scores = json.loads((out / 'scores.json').read_text())
    assert set(scores['sizes']) == {'small', 'medium', 'large'}


def test_few_pictures_show_the_worst_images(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(browse, 'MAX_PICTURES', 2)
    data = make_data(tmp_path / 'data')
    flags = ['--model', str(tiny_model), '--data', f'coco:{data}', '-o', str(tmp_path / 'out')]
    assert main(['evaluate', *flags]) == 0
    items = gallery(tmp_path / 'out')['items']
    ranked = sorted(items, key=lambda one: one['numbers']['pq'])
    assert [bool(one['picture']) for one in ranked] == [True, True, False, False]
    assert (
        'The 2 images with the highest PQ have no picture'
        in (tmp_path / 'out/browse/index.html').read_text()
    )


@needs_browser
def test_a_browser_sorts_and_filters(out, tmp_path):
    page, items = out / 'browse/index.html', gallery(out)['items']
    by_pq = [one['name'] for one in sorted(items, key=lambda one: one['numbers']['pq'])]
    assert names_shown(shown_page(page, tmp_path / 'profile')) == by_pq
    order = shown_page(page, tmp_path / 'profile', 'sort=index')
    assert names_shown(order) == [one['name'] for one in items]
    ball = LABELS.names.index('ball')
    missed = [one for one in items if any(m[:2] == [0, ball] for m in one['marks'])]
    assert 0 < len(missed) < len(items)
    shown = shown_page(page, tmp_path / 'profile', f'sort=index&filter=0,{ball},-1')
    assert names_shown(shown) == [one['name'] for one in missed]
    few = shown_page(page, tmp_path / 'profile', 'sort=pq&most=99.9')
    assert names_shown(few) == [one for one in by_pq if one != 'scene0.png']
    assert f'{len(items) - 1} of {len(items)} images' in few
