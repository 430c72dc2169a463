# SPDX-License-Identifier: Apache-2.0
"""The report: self-contained, and readable in a browser."""

import base64
import re
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, needs_browser
from replay_bags import GT_TOPIC, SIZE, drive, pausing_bag, write_bag

from panoptic_ros.cli.main import main

pytest.importorskip('matplotlib', reason='reports are drawn by it')


@pytest.fixture(scope='module')
def out(tmp_path_factory, tiny_model):
    """A replay with ground truth, id switches and a bad image."""
    folder = tmp_path_factory.mktemp('report')
    bag = pausing_bag(folder / 'bag')
    assert (
        main(
            [
                'replay',
                str(bag),
                '--model',
                str(tiny_model),
                '--gt',
                GT_TOPIC,
                '-o',
                str(folder / 'out'),
            ]
        )
        == 0
    )
    return folder / 'out'


class Page(HTMLParser):
    """Collector of the addresses that a page loads, its ids and its headings."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.ids, self.headings, self._in = [], [], [], ''
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._in = tag
        for name, value in attributes:
            if name in ('src', 'href', 'xlink:href', 'data', 'action'):
                self.fetched.append(value)
            if name == 'id':
                self.ids.append(value)
        assert tag not in ('script', 'link', 'iframe', 'object')

    def handle_data(self, data):
        if self._in == 'h2' and data.strip():
            self.headings.append(data.strip())


def test_the_page_needs_nothing_else(out):
    text = (out / 'report.html').read_text()
    page = Page(text)
    assert page.fetched
    assert page.fetched.count('overlay.mp4') == 1  # a link, which is opened on request
    others = [value for value in page.fetched if value != 'overlay.mp4']
    assert all(value.startswith(('data:image/jpeg;base64,', '#')) for value in others)
    assert not re.search(r'@import|url\((?!#)', text)
    assert len(set(page.ids)) == len(page.ids)
    assert {value[1:] for value in page.fetched if value[0] == '#'} <= set(page.ids)
    assert "default-src 'none'" in text


def test_the_page_tells_everything(out):
    text = (out / 'report.html').read_text()
    assert Page(text).headings == [
        'Images',
        'Scores by class',
        'Quality over time',
        'Latency over time',
        'Rate over time',
        'Tracks over time',
        'Overlay video',
        'Worst frames',
        'Model and configuration',
    ]
    for words in (
        'ball #1',
        'box #2',
        'id switch',
        '2 id switches',
        'tracker.max_age',
        'onnxruntime/cpu',
        'topic /ground_truth/panoptic',
    ):
        assert words in text, words


def test_names_from_outside_are_text(tmp_path, tiny_model):
    bag = write_bag(tmp_path / 'a<script>alert(1)<b>', drive(2))
    assert main(['replay', str(bag), '--model', str(tiny_model), '-o', str(tmp_path / 'o')]) == 0
    text = (tmp_path / 'o' / 'report.html').read_text()
    assert '<script>' not in text
    assert '&lt;script&gt;' in text


def test_each_thumbnail_opens_its_full_picture(out):
    """By a link to itself, which the style sheet then shows in the whole window."""
    text = (out / 'report.html').read_text()
    links = re.findall(
        r'<span class="picture" id="(\w+)">'
        r'<a class="open" href="#(\w+)"><img src="data:[^,]+,([^"]+)"',
        text,
    )
    assert links and all(name == target for name, target, _ in links)
    assert len({name for name, _, _ in links}) == len(links) == text.count('data:image/jpeg')
    assert text.count('class="close" href="#worst"') == len(links) and 'id="worst"' in text
    for _, _, data in links:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[:2] == SIZE, 'the resolution of the camera'


@needs_browser
def test_a_browser_shows_it(out, tmp_path):
    """Each part of the page is drawn, and nothing exceeds its right edge."""
    picture = tmp_path / 'page.png'
    flags = [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--hide-scrollbars',
        f'--user-data-dir={tmp_path / "profile"}',
        '--window-size=1200,3600',
    ]
    page = f'file://{out / "report.html"}'
    subprocess.run(
        [CHROMIUM, *flags, f'--screenshot={picture}', page],
        check=True,
        timeout=120,
        capture_output=True,
    )
    pixels = cv2.imread(str(picture))
    assert pixels.shape == (3600, 1200, 3)
    ink = pixels.astype(int).std(axis=(1, 2))  # by row
    assert (ink[:2400].reshape(-1, 300).max(axis=1) > 5).all()  # down to the configuration
    page_edges = pixels[:, [2, -3]]
    assert (np.abs(page_edges.astype(int) - pixels[0, 0]) < 3).all()
    opened = tmp_path / 'opened.png'
    subprocess.run(
        [CHROMIUM, *flags, f'--screenshot={opened}', f'{page}#picture_1_1'],
        check=True,
        timeout=120,
        capture_output=True,
    )
    # The page behind it is dark; headless browsers may capture it scrolled.
    behind = cv2.imread(str(opened))[:, [2, -3]]
    assert (behind < 60).all(axis=(1, 2)).mean() > 0.1 > (pixels[:, [2, -3]] < 60).mean()
    dump = subprocess.run(
        [CHROMIUM, *flags, '--dump-dom', page],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    ).stdout
    assert 'ball #1' in dump
    assert dump.count('<svg') == 4
