# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints of transformers with random weights."""

import json

import pytest
import torch

transformers = pytest.importorskip('transformers')

NAMES = ('road', 'sky', 'car', 'person', 'tree')
THINGS = ('car', 'person')


def swin():
    return transformers.SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )


SIZES = {
    'feature_size': 32,
    'mask_feature_size': 32,
    'hidden_dim': 32,
    'encoder_feedforward_dim': 32,
    'dim_feedforward': 32,
    'encoder_layers': 1,
    'decoder_layers': 2,
    'num_attention_heads': 2,
    'num_queries': 12,
}


def make_config(kind):
    common = {'id2label': dict(enumerate(NAMES))}
    if kind == 'mask2former':
        return transformers.Mask2FormerConfig(backbone_config=swin(), **SIZES, **common)
    if kind == 'maskformer':
        decoder = transformers.DetrConfig(
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_queries=12,
        )
        return transformers.MaskFormerConfig(
            backbone_config=swin(),
            decoder_config=decoder,
            fpn_feature_size=32,
            mask_feature_size=32,
            **common,
        )
    if kind == 'oneformer':
        sizes = {k: v for k, v in SIZES.items() if 'feature_size' not in k}
        return transformers.OneFormerConfig(
            backbone_config=swin(),
            conv_dim=32,
            mask_dim=32,
            query_dec_layers=1,
            text_encoder_width=32,
            text_encoder_num_layers=1,
            text_encoder_vocab_size=50,
            text_encoder_context_length=16,
            text_encoder_n_ctx=4,
            task_seq_len=16,
            is_training=False,
            **sizes,
            **common,
        )
    eomt = {'eomt': transformers.EomtConfig, 'eomt_dinov3': transformers.EomtDinov3Config}[kind]
    return eomt(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        num_queries=12,
        num_blocks=2,
        **common,
    )


CLASSES = {
    'mask2former': 'Mask2FormerForUniversalSegmentation',
    'maskformer': 'MaskFormerForInstanceSegmentation',
    'oneformer': 'OneFormerForUniversalSegmentation',
    'eomt': 'EomtForUniversalSegmentation',
    'eomt_dinov3': 'EomtDinov3ForUniversalSegmentation',
}

PROCESSORS = {
    'mask2former': 'Mask2FormerImageProcessor',
    'maskformer': 'MaskFormerImageProcessor',
    'oneformer': 'OneFormerImageProcessor',
}


def write_tokenizer(folder):
    """Write a CLIP tokenizer with letters as its only tokens."""
    letters = sorted(set('the task is panoptic') - {' '})
    words = ['<|startoftext|>', '<|endoftext|>', *letters, *(f'{c}</w>' for c in letters)]
    (folder / 'vocab.json').write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    (folder / 'tokenizer_config.json').write_text(
        json.dumps(
            {
                'tokenizer_class': 'CLIPTokenizer',
                'bos_token': words[0],
                'eos_token': words[1],
                'pad_token': words[1],
                'unk_token': words[1],
            }
        )
    )


def write_checkpoint(folder, kind):
    """Write a checkpoint with its processor's settings and class names; return the folder."""
    torch.manual_seed(0)
    getattr(transformers, CLASSES[kind])(make_config(kind)).save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text(
        json.dumps({'image_mean': [0.5, 0.4, 0.3], 'image_std': [0.2, 0.3, 0.25]})
    )
    if kind == 'oneformer':
        write_tokenizer(folder)
        (folder / 'class_info.json').write_text(
            json.dumps(
                {
                    str(i): {'name': name, 'isthing': int(name in THINGS)}
                    for i, name in enumerate(NAMES)
                }
            )
        )
    return folder
