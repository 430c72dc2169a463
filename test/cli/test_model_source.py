# SPDX-License-Identifier: Apache-2.0
"""Models of commands: the packaged one, files, and checkpoints that are exported into a cache."""

import argparse
import json
import sys

import pytest
from small_transformers import CLASSES, THINGS, make_config

from panoptic_ros.cli.main import main, make_parser
from panoptic_ros.cli.model_source import model_argument, model_path
from panoptic_ros.core.model_file import ModelFileError, read_info
from panoptic_ros.core.resources import default_model

transformers = pytest.importorskip('transformers')

COMMIT = '0123456789abcdef0123456789abcdef01234567'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache/panoptic_ros/models'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp('checkpoint') / COMMIT
    getattr(transformers, CLASSES['maskformer'])(make_config('maskformer')).save_pretrained(folder)
    size = {'height': 64, 'width': 96}
    ids = [2, 3]
    (folder / 'preprocessor_config.json').write_text(
        json.dumps({'size': size, 'metadata': {'thing_ids': ids}})
    )
    return folder


def write_size(folder, size):
    path = folder / 'preprocessor_config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'size': size}))


def test_files_and_the_packaged_model(tmp_path):
    assert model_path(None) == default_model()
    assert model_path(model_argument(str(tmp_path / 'm.onnx'))) == tmp_path / 'm.onnx'


def test_a_folder_is_exported_once(weights, cache, capsys, monkeypatch):
    (weights / 'README.md').write_text('---\nlicense: mit\n---\n')
    path = model_path(f'hf:{weights}')
    info = read_info(path)
    assert info.card == {'weights_licence': 'mit'}
    assert path.parent == cache
    assert (info.input_size, info.stride, info.name) == ((64, 96), 4, COMMIT)
    assert [info.labels.names[i] for i in (2, 3)] == list(THINGS)
    said = capsys.readouterr().err
    assert 'input 64x96, stride 4' in said
    assert str(path) in said

    def fail(*args, **kwargs):
        raise AssertionError('exported again')

    with monkeypatch.context() as patch:
        patch.setattr('panoptic_training.export.export_model', fail)
        assert model_path(f'hf:{weights}') == path
    path.write_bytes(path.read_bytes()[:1000])  # a damaged file is replaced
    assert read_info(model_path(f'hf:{weights}')) == info


@pytest.mark.parametrize('name', ['bert', 'vit', 'no such'])
def test_a_checkpoint_of_another_architecture(weights, cache, tmp_path, name):
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': name}))
    with pytest.raises(ValueError, match=f'cannot be loaded: .*{name}'):
        model_path(f'hf:{tmp_path}')
    assert not (tmp_path / 'cache/panoptic_ros').exists()


@pytest.mark.parametrize(
    ('text', 'card'),
    [
        (
            '---\nlicense: apache-2.0\ndatasets:\n- coco\n- ade20k\n---\n# Model\n',
            {'training_data': 'coco, ade20k', 'weights_licence': 'apache-2.0'},
        ),
        (
            '---\r\nlicense: other\r\nlicense_name: research\r\ndatasets: coco\r\n---\r\n',
            {'training_data': 'coco', 'weights_licence': 'research'},
        ),
        ('---\ndatasets: [3, {a: b}, x]\nlicense: {}\n---', {'training_data': 'x'}),
        ('# Model\n---\nlicense: mit\n---\n', {}),
        ('---\nlicense: [\n---\n', {}),
        ('---\n- mit\n---\n', {}),
        ('---\nlicense: mit', {}),
        ('', {}),
        (None, {}),
    ],
)
def test_the_card_of_a_checkpoint(tmp_path, text, card):
    from panoptic_training.huggingface.hub import card_of

    if text is not None:
        (tmp_path / 'README.md').write_bytes(text.encode())
    assert card_of(tmp_path) == card


def test_changed_files_are_exported_again(weights, tmp_path):
    import shutil

    folder = tmp_path / 'copy'
    shutil.copytree(weights, folder)
    first = model_path(f'hf:{folder}')
    write_size(folder, {'height': 64, 'width': 64})
    second = model_path(f'hf:{folder}')
    assert first != second
    assert read_info(second).input_size == (64, 64)


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        ({'height': 96, 'width': 160}, (96, 160)),
        ({'shortest_edge': 800, 'longest_edge': 1333}, (512, 896)),
        ({'shortest_edge': 360}, (352, 640)),
        (None, (512, 896)),
    ],
)
def test_input_size_for_camera_images(weights, tmp_path, size, expected):
    import shutil

    from panoptic_training.huggingface.hub import camera_size

    folder = tmp_path / 'copy'
    shutil.copytree(weights, folder)
    write_size(folder, size)
    assert camera_size(folder) == expected


def test_a_repository_has_its_commit_as_revision(weights, monkeypatch):
    asked = []

    def download(repository, allow_patterns):
        asked.append(repository)
        assert not any('bin' in pattern for pattern in allow_patterns)
        return str(weights)

    monkeypatch.setattr('huggingface_hub.snapshot_download', download)
    path = model_path('hf:someone/some-model')
    assert asked == ['someone/some-model']
    assert path.name.startswith(f'some-model_64x96_stride4_{COMMIT[:12]}_')
    assert read_info(path).name == 'some-model'


def test_without_a_connection(monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(FileNotFoundError, match=r'hf:a/b is not in the cache.*no connection'):
        model_path('hf:a/b')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('GatedRepoError', 'accept them on the hub'),
        ('RepositoryNotFoundError', 'no such public repository'),
    ],
)
def test_repositories_that_cannot_be_read(monkeypatch, name, words):
    from unittest.mock import Mock

    from huggingface_hub import errors

    def download(*args, **kwargs):
        raise getattr(errors, name)('long text of the server', response=Mock())

    monkeypatch.setattr('huggingface_hub.snapshot_download', download)
    with pytest.raises(FileNotFoundError, match=words):
        model_path('hf:a/b')


@pytest.mark.parametrize(
    ('place', 'words'),
    [
        ('', 'OWNER/NAME'),
        ('a b', 'nor a repository of the Hugging Face Hub'),
        ('./missing', 'no folder'),
        ('/etc/hostname', 'is a file'),
        ('/etc', 'holds no config.json'),
    ],
)
def test_places_that_are_no_checkpoint(capsys, place, words):
    assert main(['list', 'classes', f'hf:{place}']) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in line


def test_without_pytorch(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert main(['list', 'classes', 'hf:a/b']) == 2
    assert 'panoptic export --from hf:a/b -o model.onnx' in capsys.readouterr().err


def test_a_node_takes_files_only():
    with pytest.raises(ModelFileError, match='export --from hf:a/b -o'):
        read_info('hf:a/b')


def commands(parser, words=()):
    """Yield the words and parser of each command."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from commands(sub, (*words, name))


def test_every_command_that_runs_a_model_takes_a_checkpoint():
    found = {
        ' '.join(words): action.type
        for words, parser in commands(make_parser())
        for action in parser._actions
        if action.dest in ('model', 'models')
    }
    del found['export']  # --from is its flag for checkpoints
    assert len(found) > 6
    assert set(found.values()) == {model_argument}


def test_commands_export_the_checkpoint(weights, capsys):
    assert main(['list', 'classes', f'hf:{weights}']) == 0
    assert 'person' in capsys.readouterr().out
