# SPDX-License-Identifier: Apache-2.0
"""The page of a suite: links, tables that sort, nothing from elsewhere."""

import re
from html import unescape
from urllib.parse import unquote

import pytest
from browser import needs_browser, shown_page
from suite_runs import rows_of, summary_of

from panoptic_ros.suite import page


@pytest.fixture(scope='module')
def text(finished):
    return (finished / 'index.html').read_text()


def test_links_and_pictures_are_files_of_the_results(finished, text):
    places = [unquote(unescape(place)) for place in re.findall(r'(?:href|src)="([^"]*)"', text)]
    assert len([p for p in places if p.endswith('report.html')]) >= 4
    assert len([p for p in places if p.startswith('worst/')]) >= 8
    for place in places:
        assert (finished / place).is_file(), place
    assert "default-src 'none'" in text


def test_it_shows_recordings_tags_classes_and_provenance(finished, text):
    for row in rows_of(finished):
        assert f'>{row["name"]}</a>' in text
    summary = summary_of(finished)
    for words in ('>pause</td>', 'ball', summary['model']['hash'], 'onnxruntime', 'id switches'):
        assert words in text, words


def test_names_from_outside_are_text(finished, tmp_path):
    summary, rows = summary_of(finished), rows_of(finished)
    evil = '<script>alert(1)</script>'
    summary |= {'suite': evil, 'failed': [{'name': 'x', 'path': evil, 'error': evil}]}
    rows[0] |= {'tags': [evil]}
    page.write_page(tmp_path / 'index.html', summary, rows)
    text = (tmp_path / 'index.html').read_text()
    assert evil not in text and text.count('&lt;script&gt;alert') == 5


def test_a_large_suite_shows_the_recordings_with_the_lowest_pq(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(page, 'MAX_ROWS', 2)
    rows = rows_of(finished)
    for row, pq in zip(rows, (90, 20, None, 50), strict=True):
        row['pq'] = pq
    rows[0]['error'] = 'not a bag'
    page.write_page(tmp_path / 'index.html', summary_of(finished), rows)
    text = (tmp_path / 'index.html').read_text()
    table = text[text.index('id="recordings"') : text.index('id="classes"')]
    assert re.findall(r'<tr><td>(?:<a [^>]*>)?(\w+)', table) == ['sunny_1', 'sunny_2']
    assert '2 recordings with a higher PQ are not shown; recordings.jsonl has all' in text


@needs_browser
def test_tables_sort_in_a_browser(finished, tmp_path):
    """A copy of the page clicks on a heading itself, which nothing else here can do."""
    text = (finished / 'index.html').read_text()
    for name, expected in (
        ('tracks', ['sunny_1', 'sunny_2', 'rainy', 'pausing']),
        ('images', ['sunny_1', 'sunny_2', 'rainy', 'pausing']),
        ('recording', ['pausing', 'rainy', 'sunny_1', 'sunny_2']),
        ('IDF1', ['pausing', 'sunny_1', 'sunny_2', 'rainy']),
    ):
        click = (
            "<script>for (const b of document.querySelectorAll('#recordings th button'))"
            f"if (b.textContent === '{name}') b.click();</script></main>"
        )
        (tmp_path / 'index.html').write_text(text.replace('</main>', click))
        shown = shown_page(tmp_path / 'index.html', tmp_path / 'profile')
        table = shown[shown.index('id="recordings"') : shown.index('id="classes"')]
        assert re.findall(r'<tr><td><a [^>]*>(\w+)', table) == expected, name
        assert 'aria-sort="ascending"' in table
