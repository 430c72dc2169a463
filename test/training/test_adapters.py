"""Checkpoints of transformers against the library's own post-processing, and as model files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graphs import assert_same, random_image, run_eager, run_onnx

from panoptic_ros.bundle import read_info
from panoptic_ros.cli.main import main
from panoptic_ros.models.query_decode import decode
from panoptic_training.adapters import THINGS as KNOWN_THINGS
from panoptic_training.adapters import label_set, open_transformers

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
    return transformers.EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        image_size=64, patch_size=16, num_queries=12, num_blocks=2, **common)


CLASSES = {'mask2former': 'Mask2FormerForUniversalSegmentation',
           'maskformer': 'MaskFormerForInstanceSegmentation',
           'oneformer': 'OneFormerForUniversalSegmentation',
           'eomt': 'EomtForUniversalSegmentation'}


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


def random_outputs(seed, size=24, queries=15):
    """Queries with smooth masks, some of `nothing`, several of one stuff class."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.nn.functional.interpolate(
        torch.randn(1, queries, 4, 4, generator=generator) * 6, size=(size, size),
        mode='bicubic')
    logits = torch.randn(1, queries, len(NAMES) + 1, generator=generator) * 5
    return SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)


def theirs(kind, outputs):
    """The library's result: segment map, and (class, score) of each segment."""
    if kind == 'eomt':
        size = outputs.masks_queries_logits.shape[-1]
        processor = transformers.EomtImageProcessor(size={'shortest_edge': size,
                                                          'longest_edge': size})
        result = processor.post_process_panoptic_segmentation(
            outputs, target_sizes=[(size, size)], threshold=0.5, stuff_classes=sorted(STUFF),
            overlap_mask_area_threshold=OVERLAP)[0]
        offset = 1  # its segments count from 0, void is -1
    else:
        processor = {'mask2former': transformers.Mask2FormerImageProcessor,
                     'maskformer': transformers.MaskFormerImageProcessor}[kind]()
        result = processor.post_process_panoptic_segmentation(
            outputs, threshold=0.5, label_ids_to_fuse=STUFF,
            overlap_mask_area_threshold=OVERLAP)[0]
        offset = 0
    segments = {}
    for info in result['segments_info']:
        segments.setdefault(info['id'] + offset, (info['label_id'], info['score']))
    return (result['segmentation'].numpy() + offset).clip(0), segments


@pytest.mark.parametrize('kind', ['mask2former', 'maskformer', 'eomt'])
def test_decoding_equals_the_librarys(kind):
    # Mask2Former's brings masks to 384 x 384 whatever comes.
    size = 384 if kind == 'mask2former' else 24
    stuff_seen = things_seen = 0
    for seed in range(12):
        outputs = random_outputs(seed, size)
        embedding = torch.randn(outputs.class_queries_logits.shape[1], 4)
        thresholds = {'score_threshold': torch.tensor(0.5), 'mask_threshold': torch.tensor(0.5),
                      'overlap_threshold': torch.tensor(OVERLAP), 'min_area': torch.tensor(0.0),
                      'min_stuff_area': torch.tensor(0.0)}
        ours = decode(outputs.class_queries_logits[0], outputs.masks_queries_logits[0], embedding,
                      IS_THING, 4, kind != 'eomt', thresholds)
        their_map, segments = theirs(kind, outputs)
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
            assert any(torch.equal(ours.embedding[a - 1], row) for row in embedding)
    assert stuff_seen > 5
    assert things_seen > 5


def test_no_query_above_the_threshold_gives_an_empty_image():
    outputs = random_outputs(0)
    thresholds = dict.fromkeys(('mask_threshold', 'overlap_threshold', 'min_area',
                                'min_stuff_area'), torch.tensor(0.0))
    ours = decode(outputs.class_queries_logits[0], outputs.masks_queries_logits[0],
                  torch.ones(15, 4), IS_THING, 4, True,
                  {**thresholds, 'score_threshold': torch.tensor(1.0)})
    assert not ours.segment_map.any()
    assert not ours.valid.any()


@pytest.mark.parametrize('kind', CLASSES)
def test_module_gives_the_checkpoints_own_outputs(checkpoint, kind):
    module, size = open_transformers(str(checkpoint(kind)), THINGS)
    assert size == ((64, 64) if kind == 'eomt' else None)
    assert [label.name for label in module.labels.labels if label.is_thing] == list(THINGS)
    original = getattr(transformers, CLASSES[kind]).from_pretrained(checkpoint(kind)).eval()
    if kind == 'eomt':  # at the end of its training no attention is masked any more
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
                                    for kind in ('mask2former', 'oneformer'))]


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
    assert {classes: len(names) for classes, names in KNOWN_THINGS.items()} == {133: 80, 19: 8}


def test_labels_are_unique_and_known():
    labels = label_set(['a', 'b', 'a'], ['b'])
    assert labels.names == ('a', 'b', 'a 2')
    assert labels.is_thing.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="'c' is none of the classes a, b"):
        label_set(['a', 'b'], ['c'])


@pytest.mark.parametrize(('argv', 'message'), [
    (['--from', 'm2f'], 'takes hf:<folder or repository>'),
    (['--model', 'a.onnx', '--things', 'car'], '--things goes with --from'),
])
def test_flags_that_do_not_fit(tmp_path, capsys, argv, message):
    assert main(['export', *argv, '-o', str(tmp_path / 'x.onnx')]) == 2
    assert message in capsys.readouterr().err


def test_other_checkpoints_are_refused(tmp_path, capsys):
    transformers.BertConfig().save_pretrained(tmp_path)
    assert main(['export', '--from', f'hf:{tmp_path}', '-o', str(tmp_path / 'x.onnx')]) == 2
    assert 'is a bert checkpoint; panoptic ones are: mask2former' in capsys.readouterr().err
