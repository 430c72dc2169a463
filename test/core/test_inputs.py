# SPDX-License-Identifier: Apache-2.0
"""Input paths of the wrong kind are named, with what they are instead."""

import pytest

from panoptic_ros.core.documents import DocumentError, read_json, read_yaml
from panoptic_ros.core.inputs import FIRST_BYTES, kind_of, require_file, require_folder
from panoptic_ros.core.model_file import ModelFileError, load_onnx


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'city.onnx').write_bytes(b'x')
    (tmp_path / 'empty').touch()
    (tmp_path / 'runs').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'kind', 'message'),
    [
        ('cty.onnx', FileNotFoundError, 'no model file at {}/cty.onnx; did you mean city.onnx?'),
        (
            'other',
            FileNotFoundError,
            'no model file at {}/other; check the path: its folder holds city.onnx, empty, runs',
        ),
        (
            'none/city.onnx',
            FileNotFoundError,
            'no model file at {0}/none/city.onnx; '
            'check the path: {0}/none is not a folder that can be read',
        ),
        ('runs', IsADirectoryError, '{}/runs is a folder, expected a model file'),
        ('empty', ValueError, '{}/empty is empty, expected a model file'),
    ],
)
def test_a_path_that_is_no_file_is_named(folder, name, kind, message):
    with pytest.raises(kind) as caught:
        require_file(folder / name, 'a model file')
    assert str(caught.value) == message.format(folder)
    require_file(folder / 'city.onnx', 'a model file')


@pytest.mark.parametrize(
    ('name', 'kind', 'message'),
    [
        ('run', FileNotFoundError, 'no folder of PNGs at {}/run; did you mean runs?'),
        ('city.onnx', NotADirectoryError, '{}/city.onnx is a file, expected a folder of PNGs'),
    ],
)
def test_a_path_that_is_no_folder_is_named(folder, name, kind, message):
    with pytest.raises(kind) as caught:
        require_folder(folder / name, 'folder of PNGs')
    assert str(caught.value) == message.format(folder)
    require_folder(folder / 'runs', 'folder of PNGs')


@pytest.mark.parametrize('start', FIRST_BYTES)
@pytest.mark.parametrize('read', [read_json, read_yaml])
def test_a_file_of_a_known_kind_is_named(folder, start, read):
    (folder / 'x').write_bytes(start + b'\0' * 5_000_000)
    assert kind_of(start) == FIRST_BYTES[start]
    with pytest.raises(DocumentError, match=rf'x is {FIRST_BYTES[start]}, expected a (JSON|YAML)'):
        read(folder / 'x')


@pytest.mark.parametrize(
    ('read', 'text', 'message'),
    [
        (read_json, '', 'is empty, expected a JSON file'),
        (read_yaml, '', 'is empty, expected a YAML file'),
        (read_yaml, '# a comment\n', 'holds no values'),
        (read_yaml, '---\n', 'holds no values'),
        (read_json, ' \n', 'is not JSON'),
    ],
)
def test_a_document_without_values_is_named(folder, read, text, message):
    (folder / 'x').write_text(text)
    with pytest.raises(DocumentError, match=message):
        read(folder / 'x')


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'is empty, expected a model file'),
        (
            b'PK\x03\x04' + b'\xff' * 99,
            'is a zip archive, as checkpoints of `panoptic train` are, expected an ONNX file; '
            '`panoptic export --checkpoint` makes one',
        ),
        (b'\x89PNG\r\n\x1a\n' + bytes(99), 'is a PNG image, expected an ONNX file'),
        (b'\xff' * 99, 'is not an ONNX file, or is truncated'),
    ],
)
def test_a_file_that_is_no_model_is_named(folder, data, message):
    (folder / 'x.onnx').write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        load_onnx(folder / 'x.onnx')
    assert str(caught.value) == f'{folder}/x.onnx {message}'
