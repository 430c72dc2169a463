# SPDX-License-Identifier: Apache-2.0
"""Files of a transformers checkpoint: classes, normalisation, sizes, and faults."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_transformers import CLASSES, NAMES, PROCESSORS, THINGS, make_config, write_tokenizer

from panoptic_ros.cli.main import main
from panoptic_training.data import ade20k_classes, cityscapes, coco_classes
from panoptic_training.huggingface.checkpoint import TASK, _task_tokens, open_transformers
from panoptic_training.huggingface.classes import KNOWN, label_set_of_names
from panoptic_training.huggingface.processor import normalization

transformers = pytest.importorskip('transformers')


def test_things_come_from_the_class_file_or_known_names(checkpoint):
    module, _ = open_transformers(str(checkpoint('oneformer')))  # its class_info.json says
    assert tuple(np.array(module.labels.names)[module.labels.is_thing]) == THINGS
    with pytest.raises(ValueError, match=r'name them with .panoptic export --things'):
        open_transformers(str(checkpoint('eomt')))
    assert {count: int(labels.is_thing.sum()) for count, labels in KNOWN.items()} == {
        133: 80,
        19: 8,
        150: 100,
    }


def test_things_of_ade20k_come_from_its_first_names(tmp_path):
    # As its checkpoints have them: every name of a class, some with spaces at the end.
    more = {'road': 'road, route', 'window': 'window ', 'painting': 'painting, picture'}
    names = [more.get(name, name) for name in ade20k_classes.LABELS.names]
    config = make_config('maskformer')
    config.id2label = dict(enumerate(names))
    transformers.MaskFormerForInstanceSegmentation(config).save_pretrained(tmp_path)
    labels = open_transformers(str(tmp_path))[0].labels
    assert labels.is_thing.tolist() == ade20k_classes.LABELS.is_thing.tolist()
    assert labels.names[6] == 'road, route'


def write_named(kind, names, folder):
    """Write a small checkpoint with these classes."""
    config = make_config(kind)
    config.id2label = names
    getattr(transformers, CLASSES[kind])(config).save_pretrained(folder)
    return str(folder)


ADE20K_OTHERS = {8: 'windowpane', 37: 'bathtub', 38: 'railing', 87: 'streetlight', 90: 'airplane'}
"""Names that semantic checkpoints use in place of those of the panoptic ones."""


def test_semantic_checkpoints_of_ade20k_have_its_things(tmp_path):
    names = {**dict(enumerate(ade20k_classes.LABELS.names)), **ADE20K_OTHERS, 7: 'bed '}
    labels = open_transformers(write_named('segformer', names, tmp_path))[0].labels
    assert labels.is_thing.tolist() == ade20k_classes.LABELS.is_thing.tolist()
    assert labels.names[8] == 'windowpane'


def test_semantic_checkpoints_of_cityscapes_have_its_things(tmp_path):
    names = dict(enumerate(cityscapes.LABELS.names))
    labels = open_transformers(write_named('mobilevitv2', names, tmp_path))[0].labels
    assert labels.names == cityscapes.LABELS.names
    assert labels.is_thing.tolist() == cityscapes.LABELS.is_thing.tolist()


COCO = {label.category_id: label.name for label in coco_classes.LABELS.labels}


@pytest.mark.parametrize('kind', ['detr', 'rf_detr'])
@pytest.mark.parametrize('gap', ['N/A', 'LABEL_{}', ''])
@pytest.mark.parametrize('named', [range(0), range(91), range(250)])
def test_classes_of_coco_keep_their_gaps(kind, gap, named, tmp_path):
    count = {'detr': 250, 'rf_detr': 91}[kind]
    names = {i: gap.format(i) for i in range(count)}
    names |= {i: COCO[i] for i in named if i in COCO and i < count}
    module, _ = open_transformers(write_named(kind, names, tmp_path))
    expected = [label for label in coco_classes.LABELS.labels if label.category_id < count]
    assert module.labels.names == tuple(label.name for label in expected)
    assert module.labels.is_thing.tolist() == [label.is_thing for label in expected]
    assert module.config.class_ids == tuple(label.category_id for label in expected)
    # Logits of gaps, and that of `nothing`, have no class.
    nothing = len(expected)
    assert module.class_of_logit[[0, 1, 12, 13, 90]].tolist() == [nothing, 0, nothing, 11, 79]
    assert len(module.class_of_logit) == count + (kind == 'detr')


def test_classes_without_a_name_become_void(tmp_path, caplog):
    names = {**dict(enumerate(NAMES)), 1: 'N/A', 5: 'LABEL_5'}
    module, _ = open_transformers(write_named('segformer', names, tmp_path), THINGS)
    assert module.labels.names == tuple(name for name in NAMES if name != 'sky')
    assert module.class_of_logit.tolist() == [0, 4, 1, 2, 3, 4]
    assert 'warning: 2 classes have no name and become void: 1, 5' in caplog.text


def test_another_network_of_an_architecture_is_named(tmp_path):
    config = make_config('detr')
    transformers.DetrForObjectDetection(config).save_pretrained(tmp_path)
    message = (
        r'lacks .*; its files .*, but they are of DetrForObjectDetection, expected DetrForSeg'
    )
    with pytest.raises(ValueError, match=message):
        open_transformers(str(tmp_path), THINGS)


def test_a_size_that_the_network_refuses(checkpoint, tmp_path, capsys):
    command = ['export', '--from', f'hf:{checkpoint("segformer")}', '--things', *THINGS]
    path = tmp_path / 'x.onnx'
    assert main([*command, '--input-size', '8', '8', '-o', str(path)]) == 2
    assert 'this segformer checkpoint cannot run at 8x8 px' in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize('kind', ['mobilevit', 'beit', 'dpt', 'segformer'])
def test_pixels_are_those_of_the_processors_defaults(kind, tmp_path):
    getattr(transformers, CLASSES[kind])(make_config(kind)).save_pretrained(tmp_path)
    module, _ = open_transformers(str(tmp_path), THINGS)
    name = {'mobilevit': 'MobileViT', 'beit': 'Beit', 'dpt': 'DPT', 'segformer': 'Segformer'}[kind]
    processor = getattr(transformers, f'{name}ImageProcessor')(
        do_resize=False, do_center_crop=False, do_pad=False
    )
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = processor(images=image, return_tensors='pt')['pixel_values']
    seen = []
    module.network.register_forward_pre_hook(lambda network, given: seen.append(given[0]))
    with torch.no_grad():
        module.maps(module.to_batch(torch.from_numpy(image)))
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('kind', ['mask2former', 'maskformer', 'eomt'])
def test_settings_come_from_the_image_processors_own_file(kind, tmp_path):
    getattr(transformers, CLASSES[kind])(make_config(kind)).save_pretrained(tmp_path)
    processor = getattr(transformers, {**PROCESSORS, 'eomt': 'EomtImageProcessor'}[kind])
    size = {} if kind == 'eomt' else {'size': {'height': 32, 'width': 64}}
    processor(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.25], **size).save_pretrained(
        tmp_path
    )
    module, own_size = open_transformers(str(tmp_path), THINGS)
    assert (module.config.mean, module.config.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    assert own_size == ((64, 64) if kind == 'eomt' else (32, 64))


def write_oneformer(folder, class_info):
    """A checkpoint with the processor file that the library writes; returns the processor."""
    (folder / 'classes.json').write_text(json.dumps(class_info))
    write_tokenizer(folder)
    transformers.OneFormerForUniversalSegmentation(make_config('oneformer')).save_pretrained(
        folder
    )
    processor = transformers.OneFormerProcessor(
        transformers.OneFormerImageProcessor(
            repo_path=str(folder),
            class_info_file='classes.json',
            num_text=10,
            image_mean=[0.5, 0.4, 0.3],
            image_std=[0.2, 0.3, 0.25],
        ),
        transformers.AutoTokenizer.from_pretrained(folder),
        task_seq_length=16,
    )
    processor.save_pretrained(folder)
    assert not (folder / 'preprocessor_config.json').exists()
    (folder / 'classes.json').unlink()
    return processor


def test_settings_and_task_come_from_oneformers_processor(tmp_path):
    processor = write_oneformer(
        tmp_path,
        {str(i): {'name': name, 'isthing': int(name in THINGS)} for i, name in enumerate(NAMES)},
    )
    module, size = open_transformers(str(tmp_path))
    assert (module.config.mean, module.config.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    assert size is None
    assert tuple(np.array(module.labels.names)[module.labels.is_thing]) == THINGS
    expected = processor._preprocess_text([TASK], max_length=16)
    assert torch.equal(module.task, expected)


def test_padding_of_the_task_is_zero(tmp_path):
    # Longer than the task's letters, which are the tokens here; 16 as above cuts them off.
    processor = write_oneformer(tmp_path, {'0': {'name': 'road', 'isthing': 0}})
    settings = SimpleNamespace(task_seq_len=40)
    tokens = _task_tokens(str(tmp_path), settings)
    assert tokens == tuple(processor._preprocess_text([TASK], max_length=40)[0].tolist())
    assert tokens[-5:] == (0,) * 5


def test_things_that_are_no_classes_are_refused(tmp_path):
    write_oneformer(tmp_path, {'5': {'name': 'road', 'isthing': 1}})
    with pytest.raises(ValueError, match='id must be a whole number from 0 to 4, got 5'):
        open_transformers(str(tmp_path))


def test_missing_weights_are_refused(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint('maskformer'), tmp_path / 'part')
    weights = load_file(folder / 'model.safetensors')
    gone = 'class_predictor.weight'
    del weights[gone]
    save_file(weights, folder / 'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ValueError, match=rf"lacks 1 of \d+ weights, e\.g\. '{gone}'"):
        open_transformers(str(folder), THINGS)


def test_labels_are_unique_and_known():
    labels = label_set_of_names(['a', 'b', 'a'], ['b'])
    assert labels.names == ('a', 'b', 'a 2')
    assert labels.is_thing.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="unknown class 'c'; the classes are: a, b"):
        label_set_of_names(['a', 'b'], ['c'])


def test_things_are_named_with_any_capitals(checkpoint):
    module, _ = open_transformers(str(checkpoint('maskformer')), ['Car', 'PERSON'])
    assert tuple(np.array(module.labels.names)[module.labels.is_thing]) == THINGS


def edited(checkpoint, tmp_path, file, edit):
    """A copy of a checkpoint with another value in one of its JSON files."""
    folder = shutil.copytree(checkpoint('maskformer'), tmp_path / 'edited')
    values = json.loads((folder / file).read_text())
    values.update(edit)
    (folder / file).write_text(json.dumps(values))
    return folder


def replaced(checkpoint, tmp_path, file, data):
    folder = shutil.copytree(checkpoint('maskformer'), tmp_path / 'replaced')
    (folder / file).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (
            b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
            r'model\.safetensors is a Git LFS pointer instead of the weights; '
            r'.*`git lfs pull`',
        ),
        (b'', r'model\.safetensors is not a complete safetensors file'),
        (b'\xff' * 100, r'model\.safetensors is not a complete safetensors file'),
        (None, r'model\.safetensors is not a complete safetensors file'),
    ],
)
def test_weights_that_are_none_are_named(checkpoint, tmp_path, data, message):
    whole = (checkpoint('maskformer') / 'model.safetensors').read_bytes()
    folder = replaced(
        checkpoint, tmp_path, 'model.safetensors', whole[:-100] if data is None else data
    )
    with pytest.raises(ValueError, match=message):
        open_transformers(str(folder), THINGS)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('none', 'no folder .*none; give one'),
        ('file', 'file is a file; give the folder'),
        ('empty', r'the folder .*empty holds no config\.json'),
    ],
)
def test_what_is_no_folder_of_a_checkpoint_is_told(tmp_path, name, message):
    (tmp_path / 'file').touch()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(OSError, match=message):
        open_transformers(str(tmp_path / name), THINGS)


def test_pickles_are_not_loaded(checkpoint, tmp_path):
    folder = replaced(checkpoint, tmp_path, 'pytorch_model.bin', b'')
    (folder / 'model.safetensors').unlink()
    with pytest.raises(ValueError, match=r'as pytorch_model\.bin only, a pickle'):
        open_transformers(str(folder), THINGS)


def test_a_broken_tokenizer_is_told_in_a_line(tmp_path):
    write_oneformer(tmp_path, {'0': {'name': 'road', 'isthing': 0}})
    for path in (*tmp_path.glob('tokenizer*'), tmp_path / 'vocab.json'):
        path.write_text('{bad')
    with pytest.raises(ValueError, match=r'the tokenizer of .* cannot be loaded: '):
        _task_tokens(str(tmp_path), SimpleNamespace(task_seq_len=16))


@pytest.mark.parametrize(
    ('file', 'data', 'message'),
    [
        ('config.json', b'{bad', 'config.json'),
        ('config.json', b'[]', 'cannot be loaded'),
        (
            'config.json',
            b'{"model_type": "maskformer", "fpn_feature_size": "x"}',
            'cannot be loaded',
        ),
        ('preprocessor_config.json', b'{bad', r'preprocessor_config\.json is not JSON'),
        ('preprocessor_config.json', b'[' * 99_999, r'preprocessor_config\.json: .*too deeply'),
        ('preprocessor_config.json', b'[1]', r'preprocessor_config\.json must hold a JSON object'),
    ],
)
def test_broken_settings_are_told_in_one_line(checkpoint, tmp_path, capsys, file, data, message):
    folder = replaced(checkpoint, tmp_path, file, data)
    assert (
        main(
            [
                'export',
                '--from',
                f'hf:{folder}',
                '--things',
                'car',
                '--input-size',
                '64',
                '64',
                '-o',
                str(tmp_path / 'x.onnx'),
            ]
        )
        == 2
    )
    [line] = [text for text in capsys.readouterr().err.splitlines() if 'panoptic: error' in text]
    assert re.search(message, line)


def test_weights_of_another_number_of_classes_are_refused(checkpoint, tmp_path):
    folder = edited(
        checkpoint,
        tmp_path,
        'config.json',
        {'id2label': {str(i): name for i, name in enumerate(NAMES[:4])}},
    )
    with pytest.raises(
        ValueError,
        match=r'2 weights have other shapes than its config\.json '
        r'says, e\.g\. class_predictor\.\w+ has \[6.* \[5\]',
    ):
        open_transformers(str(folder), THINGS)


@pytest.mark.parametrize('ids', [(1, 2, 3, 4, 5), (0, 1, 2, 3, 7)])
def test_classes_without_a_name_are_refused(checkpoint, tmp_path, ids):
    folder = edited(
        checkpoint,
        tmp_path,
        'config.json',
        {'id2label': {str(i): name for i, name in zip(ids, NAMES, strict=True)}},
    )
    with pytest.raises(ValueError, match=r'id2label has no name for class \d; .*--classes FILE'):
        open_transformers(str(folder), THINGS)


CLASSES_YAML = """
classes:
- {id: 1, name: Sky, kind: stuff}
- {id: 0, name: road, kind: stuff, color: [128, 64, 128]}
- {id: 2, name: car, kind: thing}
- {id: 3, name: person, kind: thing}
- {id: 4, name: tree, kind: stuff}
"""


def test_names_from_a_file_in_place_of_numbers(checkpoint, tmp_path, capsys):
    folder = edited(
        checkpoint, tmp_path, 'config.json', {'id2label': {str(i): f'LABEL_{i}' for i in range(5)}}
    )
    with pytest.raises(ValueError, match=r'are things, and does not name them: .* --classes'):
        open_transformers(str(folder))
    path = tmp_path / 'classes.yaml'
    path.write_text(CLASSES_YAML)
    labels = open_transformers(str(folder), (), path)[0].labels
    assert labels.names == ('road', 'Sky', 'car', 'person', 'tree')
    assert labels.labels[0].color == (128, 64, 128)
    assert labels.is_thing.tolist() == [False, False, True, True, False]
    path.write_text(CLASSES_YAML.replace('id: 4', 'id: 5'))
    assert (
        main(
            [
                'export',
                '--from',
                f'hf:{folder}',
                '--classes',
                str(path),
                '--input-size',
                '64',
                '64',
                '-o',
                str(tmp_path / 'x.onnx'),
            ]
        )
        == 2
    )
    assert "checkpoint's classes, 0 to 4, got 5 from 0 to 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'do_normalize': False},
        {'do_rescale': False},
        {'rescale_factor': 1 / 127.5},
        {'do_rescale': False, 'do_normalize': False},
        {'image_mean': 0.5, 'image_std': 0.25},
        {'image_mean': None, 'image_std': None},
        {'do_normalize': None, 'rescale_factor': None},
    ],
)
def test_the_network_sees_what_the_processor_gives(settings):
    given = {'image_mean': [0.5, 0.4, 0.3], 'image_std': [0.2, 0.3, 0.25], **settings}
    processor = transformers.MaskFormerImageProcessor(
        do_resize=False,
        size_divisor=None,
        **{key: value for key, value in given.items() if value is not None},
    )
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    expected = processor(images=image, return_tensors='np')['pixel_values'][0]
    ours = normalization('x', given)
    found = (image / 255 - np.array(ours['mean'])) / np.array(ours['std'])
    np.testing.assert_allclose(found.transpose(2, 0, 1), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    'settings',
    [
        {'image_mean': 'x'},
        {'image_mean': [0.5, 0.5]},
        {'image_std': 0},
        {'image_std': [1, 1, -1]},
        {'image_mean': float('nan')},
        {'rescale_factor': 0},
        {'rescale_factor': 'x'},
        {'do_normalize': 'maybe'},
        {'do_rescale': 3},
    ],
)
def test_settings_that_are_none_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        normalization('x', settings)


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--model', 'a.onnx', '--classes', 'c.yaml'], '--things and --classes go with --from'),
        (['--from', 'hf:x', '--classes', 'c.yaml', '--things', 'a'], 'leave out --things'),
        (['--from', 'm2f'], 'takes hf:<folder or repository>'),
        (['--model', 'a.onnx', '--things', 'car'], '--things and --classes go with --from'),
    ],
)
def test_flags_that_do_not_fit(tmp_path, capsys, argv, message):
    assert main(['export', *argv, '-o', str(tmp_path / 'x.onnx')]) == 2
    assert message in capsys.readouterr().err


def test_other_checkpoints_are_refused(tmp_path, capsys):
    transformers.BertConfig().save_pretrained(tmp_path)
    assert main(['export', '--from', f'hf:{tmp_path}', '-o', str(tmp_path / 'x.onnx')]) == 2
    assert 'is a bert checkpoint; those that work are: mask2former' in capsys.readouterr().err
