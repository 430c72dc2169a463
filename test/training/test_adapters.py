"""Checkpoints of transformers against the library's own post-processing, and as model files."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graphs import assert_same, random_image, run_eager, run_onnx
from safetensors.torch import load_file, save_file

from panoptic_ros.bundle import read_info
from panoptic_ros.cli.main import main
from panoptic_ros.models.query_decode import decode
from panoptic_ros.models.registry import build
from panoptic_ros.models.transformers import TransformersMaps
from panoptic_training.adapters import (
    TASK,
    _task_tokens,
    label_set,
    normalization,
    open_transformers,
)
from panoptic_training.adapters import THINGS as KNOWN_THINGS
from panoptic_training.data import ade20k_classes

transformers = pytest.importorskip('transformers')

NAMES = ('road', 'sky', 'car', 'person', 'tree')
THINGS = ('car', 'person')
IS_THING = torch.tensor([name in THINGS for name in NAMES])
OVERLAP = 0.313
"""Random masks overlap much; at the library's 0.8 few segments would be left. No share of two
areas here is exactly this."""
STUFF = {i for i, name in enumerate(NAMES) if name not in THINGS}


def swin():
    return transformers.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], window_size=4,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'])


SIZES = {'feature_size': 32, 'mask_feature_size': 32, 'hidden_dim': 32,
         'encoder_feedforward_dim': 32, 'dim_feedforward': 32, 'encoder_layers': 1,
         'decoder_layers': 2, 'num_attention_heads': 2, 'num_queries': 12}


def make_config(kind):
    common = {'id2label': dict(enumerate(NAMES))}
    if kind == 'mask2former':
        return transformers.Mask2FormerConfig(backbone_config=swin(), **SIZES, **common)
    if kind == 'maskformer':
        decoder = transformers.DetrConfig(
            d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=12)
        return transformers.MaskFormerConfig(
            backbone_config=swin(), decoder_config=decoder, fpn_feature_size=32,
            mask_feature_size=32, **common)
    if kind == 'oneformer':
        sizes = {k: v for k, v in SIZES.items() if 'feature_size' not in k}
        return transformers.OneFormerConfig(
            backbone_config=swin(), conv_dim=32, mask_dim=32, query_dec_layers=1,
            text_encoder_width=32, text_encoder_num_layers=1, text_encoder_vocab_size=50,
            text_encoder_context_length=16, text_encoder_n_ctx=4, task_seq_len=16,
            is_training=False, **sizes, **common)
    eomt = {'eomt': transformers.EomtConfig, 'eomt_dinov3': transformers.EomtDinov3Config}[kind]
    return eomt(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        image_size=64, patch_size=16, num_queries=12, num_blocks=2, **common)


CLASSES = {'mask2former': 'Mask2FormerForUniversalSegmentation',
           'maskformer': 'MaskFormerForInstanceSegmentation',
           'oneformer': 'OneFormerForUniversalSegmentation',
           'eomt': 'EomtForUniversalSegmentation',
           'eomt_dinov3': 'EomtDinov3ForUniversalSegmentation'}


def write_tokenizer(folder):
    """A CLIP tokenizer that knows letters only."""
    letters = sorted(set('the task is panoptic') - {' '})
    words = ['<|startoftext|>', '<|endoftext|>', *letters, *(f'{c}</w>' for c in letters)]
    (folder / 'vocab.json').write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    (folder / 'tokenizer_config.json').write_text(json.dumps({
        'tokenizer_class': 'CLIPTokenizer', 'bos_token': words[0], 'eos_token': words[1],
        'pad_token': words[1], 'unk_token': words[1]}))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Makes a folder with a small checkpoint of random weights."""
    made = {}

    def make(kind):
        if kind not in made:
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(kind)
            getattr(transformers, CLASSES[kind])(make_config(kind)).save_pretrained(folder)
            (folder / 'preprocessor_config.json').write_text(json.dumps(
                {'image_mean': [0.5, 0.4, 0.3], 'image_std': [0.2, 0.3, 0.25]}))
            if kind == 'oneformer':
                write_tokenizer(folder)
                (folder / 'class_info.json').write_text(json.dumps(
                    {str(i): {'name': name, 'isthing': int(name in THINGS)}
                     for i, name in enumerate(NAMES)}))
            made[kind] = folder
        return made[kind]

    return make


def random_maps(seed, image_size=(64, 96), queries=15):
    """Queries with smooth masks at stride 4, some of `nothing`, several of one stuff class."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.nn.functional.interpolate(
        torch.randn(1, queries, 4, 4, generator=generator) * 6,
        size=[n // 4 for n in image_size], mode='bicubic')
    logits = torch.randn(1, queries, len(NAMES) + 1, generator=generator) * 5
    embedding = torch.randn(1, queries, 4, generator=generator)
    return TransformersMaps(logits, masks, embedding, image_size)


PROCESSORS = {'mask2former': 'Mask2FormerImageProcessor',
              'maskformer': 'MaskFormerImageProcessor',
              'oneformer': 'OneFormerImageProcessor'}


def theirs(kind, maps, target):
    """The library's result for a target (height, width): segment map, and what segments are."""
    outputs = SimpleNamespace(class_queries_logits=maps.class_logits,
                              masks_queries_logits=maps.mask_logits)
    common = {'target_sizes': [target], 'threshold': 0.5, 'overlap_mask_area_threshold': OVERLAP}
    if kind == 'eomt':
        height, width = maps.image_size
        processor = transformers.EomtImageProcessor(size={'shortest_edge': height,
                                                          'longest_edge': width})
        result = processor.post_process_panoptic_segmentation(
            outputs, stuff_classes=sorted(STUFF), **common)[0]
        offset = 1  # its segments count from 0, void is -1
    else:
        processor = getattr(transformers, PROCESSORS[kind])()
        result = processor.post_process_panoptic_segmentation(
            outputs, label_ids_to_fuse=STUFF, **common)[0]
        offset = 0
    return (result['segmentation'].numpy() + offset).clip(0), [
        {**info, 'id': info['id'] + offset} for info in result['segments_info']]


def reuses_an_id(infos):
    """Whether the library gave an id to a second segment, see `query_decode`."""
    of_id = {}
    for info in infos:
        of_id.setdefault(info['id'], []).append(info)
    return any(len(same) > 1 and not (all(info['was_fused'] for info in same)
                                      and len({info['label_id'] for info in same}) == 1)
               for same in of_id.values())


@pytest.mark.parametrize('stride', [1, 4])
@pytest.mark.parametrize('kind', ['mask2former', 'maskformer', 'oneformer', 'eomt'])
def test_decoding_equals_the_librarys(checkpoint, kind, stride, monkeypatch):
    module, _ = open_transformers(str(checkpoint(kind)), THINGS)
    module = build('transformers', module.labels, **{**module.config_dict(), 'stride': stride})
    low = {'score_threshold': torch.tensor(0.5), 'overlap_threshold': torch.tensor(OVERLAP)}
    height, width = size = (64, 64) if kind == 'eomt' else (64, 96)
    image = torch.zeros(height, width, 3, dtype=torch.uint8)
    stuff_seen = things_seen = compared = 0
    for seed in range(12):
        maps = random_maps(seed, size)
        monkeypatch.setattr(module, 'maps', lambda image, maps=maps: maps)
        their_map, infos = theirs(kind, maps, (height // stride, width // stride))
        if reuses_an_id(infos):
            continue
        compared += 1
        segments = {}
        for info in infos:
            segments.setdefault(info['id'], (info['label_id'], info['score']))
        ours = module(image, **{**module.default_thresholds(), **low})
        assert ours.segment_map.shape == their_map.shape
        pairs = {(int(a), int(b)) for a, b in zip(ours.segment_map.flatten(), their_map.flatten(),
                                                  strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert (0, 0) in pairs or not {0} & {a for a, _ in pairs}
        for a, b in pairs - {(0, 0)}:
            assert (int(ours.class_id[a - 1]), pytest.approx(float(ours.score[a - 1]), abs=1e-5)) \
                == segments[b]
            stuff_seen += segments[b][0] in STUFF
            things_seen += segments[b][0] not in STUFF
            # The embedding is that of the first query that the row stands for.
            assert any(torch.equal(ours.embedding[a - 1], row) for row in
                       torch.nn.functional.normalize(maps.embedding[0], dim=1))
    assert compared > 5
    assert stuff_seen > 5
    assert things_seen > 5


def test_segments_stay_apart_where_the_library_reuses_an_id():
    # Queries: stuff, thing, the same stuff, thing; each wins a quarter of the image.
    masks = torch.full((4, 2, 2), -9.0)
    masks.flatten(1).fill_diagonal_(9.0)
    labels = [0, 2, 0, 3]
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor(labels), len(NAMES) + 1)
    maps = TransformersMaps(logits[None], masks[None], torch.ones(1, 4, 4), (8, 8))
    their_map, infos = theirs('maskformer', maps, (2, 2))
    assert reuses_an_id(infos)
    assert their_map.tolist() == [[1, 2], [1, 2]]
    thresholds = {'score_threshold': 0.5, 'mask_threshold': 0.5, 'overlap_threshold': 0.8,
                  'min_area': 0.0, 'min_stuff_area': 0.0}
    ours = decode(logits, masks.sigmoid(), torch.ones(4, 4), IS_THING, 4, True,
                  {name: torch.tensor(value) for name, value in thresholds.items()})
    assert ours.semantic_map.tolist() == [[0, 2], [0, 3]]
    assert len(ours.segment_map.unique()) == 3


def test_no_query_above_the_threshold_gives_an_empty_image():
    maps = random_maps(0)
    thresholds = dict.fromkeys(('mask_threshold', 'overlap_threshold', 'min_area',
                                'min_stuff_area'), torch.tensor(0.0))
    ours = decode(maps.class_logits[0], maps.mask_logits[0].sigmoid(), torch.ones(15, 4),
                  IS_THING, 4, True,
                  {**thresholds, 'score_threshold': torch.tensor(1.0)})
    assert not ours.segment_map.any()
    assert not ours.valid.any()


@pytest.mark.parametrize('kind', CLASSES)
def test_module_gives_the_checkpoints_own_outputs(checkpoint, kind):
    module, size = open_transformers(str(checkpoint(kind)), THINGS)
    assert size == ((64, 64) if kind.startswith('eomt') else None)
    assert [label.name for label in module.labels.labels if label.is_thing] == list(THINGS)
    original = getattr(transformers, CLASSES[kind]).from_pretrained(checkpoint(kind)).eval()
    if kind.startswith('eomt'):  # at the end of its training no attention is masked any more
        original.attn_mask_probs.zero_()
    image = torch.rand(1, 3, 64, 64) * 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]))
    task = {'task_inputs': module.task} if kind == 'oneformer' else {}
    with torch.no_grad():
        expected = original((image / 255 - mean) / std, **task)
        ours = module.maps(image)
    for a, b in ((ours.class_logits, expected.class_queries_logits),
                 (ours.mask_logits, expected.masks_queries_logits)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert ours.embedding.shape == (1, 12, module.embedding_dim)


EXPORTED = ['maskformer', 'eomt', *(pytest.param(kind, marks=pytest.mark.slow)
                                    for kind in ('mask2former', 'oneformer', 'eomt_dinov3'))]


@pytest.mark.parametrize('kind', EXPORTED)
def test_model_file_equals_the_module(checkpoint, kind, tmp_path, capsys):
    path = tmp_path / 'model.onnx'
    assert main(['export', '--from', f'hf:{checkpoint(kind)}', '--things', *THINGS,
                 '--input-size', '64', '64', '-o', str(path)]) == 0, capsys.readouterr().err
    info = read_info(path)
    assert info.family == 'transformers'
    assert info.labels.names == NAMES
    module, _ = open_transformers(str(checkpoint(kind)), THINGS)
    image = random_image((64, 64))
    low = {'score_threshold': 0.1, 'mask_threshold': 0.05, 'overlap_threshold': 0.1}
    expected = run_eager(module, image, low)
    assert expected['valid'].any()
    assert_same(run_onnx(path, image, low), expected)


def test_things_come_from_the_class_file_or_known_names(checkpoint):
    module, _ = open_transformers(str(checkpoint('oneformer')))  # its class_info.json says
    assert tuple(np.array(module.labels.names)[module.labels.is_thing]) == THINGS
    with pytest.raises(ValueError, match='name them with --things'):
        open_transformers(str(checkpoint('eomt')))
    assert {classes: len(names) for classes, names in KNOWN_THINGS.items()} == \
        {133: 80, 19: 8, 150: 100}


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


@pytest.mark.parametrize('kind', ['mask2former', 'maskformer', 'eomt'])
def test_settings_come_from_the_image_processors_own_file(kind, tmp_path):
    getattr(transformers, CLASSES[kind])(make_config(kind)).save_pretrained(tmp_path)
    processor = getattr(transformers, {**PROCESSORS, 'eomt': 'EomtImageProcessor'}[kind])
    size = {} if kind == 'eomt' else {'size': {'height': 32, 'width': 64}}
    processor(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.25],
              **size).save_pretrained(tmp_path)
    module, own_size = open_transformers(str(tmp_path), THINGS)
    assert (module.config.mean, module.config.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    assert own_size == ((64, 64) if kind == 'eomt' else (32, 64))


def write_oneformer(folder, class_info):
    """A checkpoint with the processor file that the library writes; returns the processor."""
    (folder / 'classes.json').write_text(json.dumps(class_info))
    write_tokenizer(folder)
    transformers.OneFormerForUniversalSegmentation(make_config('oneformer')).save_pretrained(folder)
    processor = transformers.OneFormerProcessor(
        transformers.OneFormerImageProcessor(
            repo_path=str(folder), class_info_file='classes.json', num_text=10,
            image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.25]),
        transformers.AutoTokenizer.from_pretrained(folder), task_seq_length=16)
    processor.save_pretrained(folder)
    assert not (folder / 'preprocessor_config.json').exists()
    (folder / 'classes.json').unlink()
    return processor


def test_settings_and_task_come_from_oneformers_processor(tmp_path):
    processor = write_oneformer(tmp_path, {
        str(i): {'name': name, 'isthing': int(name in THINGS)} for i, name in enumerate(NAMES)})
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


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', CLASSES)
def test_half_checkpoints_become_float32(kind, dtype, tmp_path):
    model = getattr(transformers, CLASSES[kind])(make_config(kind)).to(dtype)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    module, _ = open_transformers(str(tmp_path), THINGS)
    weights = {name: value for name, value in module.network.state_dict().items()
               if value.is_floating_point()}
    assert {value.dtype for value in weights.values()} == {torch.float32}
    name = next(name for name in weights if name.endswith('.weight'))
    torch.testing.assert_close(weights[name], model.state_dict()[name].float())
    found = run_eager(module, random_image((64, 64)), {})
    assert found['score'].dtype == np.float32


@pytest.mark.parametrize('kind', ['eomt', 'eomt_dinov3'])
@pytest.mark.parametrize('size', [(128, 128), (32, 128)])  # the second has as many patches
def test_eomt_takes_only_its_own_size(checkpoint, kind, size, tmp_path, capsys):
    path = tmp_path / 'x.onnx'
    assert main(['export', '--from', f'hf:{checkpoint(kind)}', '--things', *THINGS,
                 '--input-size', *map(str, size), '-o', str(path)]) == 2
    message = f'takes input of 64x64 px only, got {size[0]}x{size[1]}'
    assert message in capsys.readouterr().err
    assert not path.exists()
    module, _ = open_transformers(str(checkpoint(kind)), THINGS)
    with pytest.raises(ValueError, match=message):
        run_eager(module, random_image(size), {})


def test_labels_are_unique_and_known():
    labels = label_set(['a', 'b', 'a'], ['b'])
    assert labels.names == ('a', 'b', 'a 2')
    assert labels.is_thing.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="unknown class 'c'; the classes are: a, b"):
        label_set(['a', 'b'], ['c'])


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


@pytest.mark.parametrize(('data', 'message'), [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
     r'model\.safetensors is a pointer of Git LFS in place of the weights; .*`git lfs pull`'),
    (b'', r'model\.safetensors is not a whole safetensors file'),
    (b'\xff' * 100, r'model\.safetensors is not a whole safetensors file'),
    (None, r'model\.safetensors is not a whole safetensors file'),
])
def test_weights_that_are_none_are_named(checkpoint, tmp_path, data, message):
    whole = (checkpoint('maskformer') / 'model.safetensors').read_bytes()
    folder = replaced(checkpoint, tmp_path, 'model.safetensors',
                      whole[:-100] if data is None else data)
    with pytest.raises(ValueError, match=message):
        open_transformers(str(folder), THINGS)


@pytest.mark.parametrize(('name', 'message'), [
    ('none', 'no folder .*none; give one'),
    ('file', 'file is a file; give the folder'),
    ('empty', r'the folder .*empty holds no config\.json'),
])
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


@pytest.mark.parametrize(('file', 'data', 'message'), [
    ('config.json', b'{bad', 'config.json'),
    ('config.json', b'[]', 'cannot be loaded'),
    ('config.json', b'{"model_type": "maskformer", "fpn_feature_size": "x"}', 'cannot be loaded'),
    ('preprocessor_config.json', b'{bad', r'preprocessor_config\.json is not JSON'),
    ('preprocessor_config.json', b'[' * 99_999, r'preprocessor_config\.json: .*too deeply'),
    ('preprocessor_config.json', b'[1]', r'preprocessor_config\.json must hold a JSON object'),
])
def test_broken_settings_are_told_in_one_line(checkpoint, tmp_path, capsys, file, data, message):
    folder = replaced(checkpoint, tmp_path, file, data)
    assert main(['export', '--from', f'hf:{folder}', '--things', 'car', '--input-size', '64', '64',
                 '-o', str(tmp_path / 'x.onnx')]) == 2
    [line] = [text for text in capsys.readouterr().err.splitlines() if 'panoptic: error' in text]
    assert re.search(message, line)


def test_weights_of_another_number_of_classes_are_refused(checkpoint, tmp_path):
    folder = edited(checkpoint, tmp_path, 'config.json',
                    {'id2label': {str(i): name for i, name in enumerate(NAMES[:4])}})
    with pytest.raises(ValueError, match=r'2 weights have other shapes than its config\.json '
                                         r'says, e\.g\. class_predictor\.\w+ has \[6.* \[5\]'):
        open_transformers(str(folder), THINGS)


@pytest.mark.parametrize('ids', [(1, 2, 3, 4, 5), (0, 1, 2, 3, 7)])
def test_classes_without_a_name_are_refused(checkpoint, tmp_path, ids):
    folder = edited(checkpoint, tmp_path, 'config.json', {
        'id2label': {str(i): name for i, name in zip(ids, NAMES, strict=True)}})
    with pytest.raises(ValueError, match=r'id2label gives no name to class \d; .*--classes FILE'):
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
    folder = edited(checkpoint, tmp_path, 'config.json',
                    {'id2label': {str(i): f'LABEL_{i}' for i in range(5)}})
    with pytest.raises(ValueError, match=r'are things, and does not name them: .* --classes'):
        open_transformers(str(folder))
    path = tmp_path / 'classes.yaml'
    path.write_text(CLASSES_YAML)
    labels = open_transformers(str(folder), (), path)[0].labels
    assert labels.names == ('road', 'Sky', 'car', 'person', 'tree')
    assert labels.labels[0].color == (128, 64, 128)
    assert labels.is_thing.tolist() == [False, False, True, True, False]
    path.write_text(CLASSES_YAML.replace('id: 4', 'id: 5'))
    assert main(['export', '--from', f'hf:{folder}', '--classes', str(path), '--input-size', '64',
                 '64', '-o', str(tmp_path / 'x.onnx')]) == 2
    assert "checkpoint's classes, 0 to 4, got 5 from 0 to 5" in capsys.readouterr().err


@pytest.mark.parametrize('settings', [
    {}, {'do_normalize': False}, {'do_rescale': False}, {'rescale_factor': 1 / 127.5},
    {'do_rescale': False, 'do_normalize': False}, {'image_mean': 0.5, 'image_std': 0.25},
    {'image_mean': None, 'image_std': None}, {'do_normalize': None, 'rescale_factor': None}])
def test_the_network_sees_what_the_processor_gives(settings):
    given = {'image_mean': [0.5, 0.4, 0.3], 'image_std': [0.2, 0.3, 0.25], **settings}
    processor = transformers.MaskFormerImageProcessor(do_resize=False, size_divisor=None, **{
        key: value for key, value in given.items() if value is not None})
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    expected = processor(images=image, return_tensors='np')['pixel_values'][0]
    ours = normalization('x', given)
    found = (image / 255 - np.array(ours['mean'])) / np.array(ours['std'])
    np.testing.assert_allclose(found.transpose(2, 0, 1), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize('settings', [
    {'image_mean': 'x'}, {'image_mean': [0.5, 0.5]}, {'image_std': 0}, {'image_std': [1, 1, -1]},
    {'image_mean': float('nan')}, {'rescale_factor': 0}, {'rescale_factor': 'x'},
    {'do_normalize': 'maybe'}, {'do_rescale': 3}])
def test_settings_that_are_none_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        normalization('x', settings)


@pytest.mark.parametrize(('argv', 'message'), [
    (['--model', 'a.onnx', '--classes', 'c.yaml'], '--things and --classes go with --from'),
    (['--from', 'hf:x', '--classes', 'c.yaml', '--things', 'a'], 'leave out --things'),
    (['--from', 'm2f'], 'takes hf:<folder or repository>'),
    (['--model', 'a.onnx', '--things', 'car'], '--things and --classes go with --from'),
])
def test_flags_that_do_not_fit(tmp_path, capsys, argv, message):
    assert main(['export', *argv, '-o', str(tmp_path / 'x.onnx')]) == 2
    assert message in capsys.readouterr().err


def test_other_checkpoints_are_refused(tmp_path, capsys):
    transformers.BertConfig().save_pretrained(tmp_path)
    assert main(['export', '--from', f'hf:{tmp_path}', '-o', str(tmp_path / 'x.onnx')]) == 2
    assert 'is a bert checkpoint; panoptic ones are: mask2former' in capsys.readouterr().err
