# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints of transformers with random weights."""

import json

import pytest
import torch

from panoptic_ros.models.huggingface.config import ARCHITECTURES

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
    return OTHERS[kind](**common)


def resnet():
    return transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type='basic',
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )


def make_detr(kind):
    """Return a function from common settings to a DETR; 16 + 8 channels of its mask head."""
    return lambda **common: getattr(transformers, kind)(
        backbone_config=resnet(),
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=12,
        init_std=1.0,  # else, the queries are almost equal
        **common,
    )


def make_vit(kind, *, size='intermediate_size', **more):
    """Return a function from common settings to a vision transformer for input of 64 x 64."""
    sizes = {
        'hidden_size': 32,
        'num_hidden_layers': 4,
        'num_attention_heads': 2,
        size: 32 if size == 'intermediate_size' else 1,
        'image_size': 64,
        'patch_size': 16,
        **more,
    }
    return lambda **common: getattr(transformers, kind)(**sizes, **common)


def make_rf_detr(**common):
    backbone = {
        'model_type': 'rf_detr_dinov2',
        'hidden_size': 32,
        'num_hidden_layers': 4,
        'num_attention_heads': 2,
        'mlp_ratio': 1,
        'image_size': 64,
        'patch_size': 8,
        'num_windows': 2,
        'out_features': ['stage2', 'stage4'],
    }
    return transformers.RfDetrConfig(
        backbone_config=backbone,
        d_model=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=4,
        decoder_ffn_dim=32,
        decoder_n_points=2,
        num_queries=12,
        group_detr=2,
        intermediate_size=32,
        **common,
    )


BEIT = {'out_indices': [1, 2, 3, 4], 'pool_scales': [1, 2], 'use_relative_position_bias': True}
EOMT = {'num_queries': 12, 'num_blocks': 2}

OTHERS = {
    'eomt': make_vit('EomtConfig', **EOMT),
    'eomt_dinov3': make_vit('EomtDinov3Config', **EOMT),
    'videomt': make_vit('VideomtConfig', size='mlp_ratio', **EOMT),
    'detr': make_detr('DetrConfig'),
    'conditional_detr': make_detr('ConditionalDetrConfig'),
    'rf_detr': make_rf_detr,
    'beit': make_vit('BeitConfig', **BEIT),
    'data2vec-vision': make_vit('Data2VecVisionConfig', **BEIT),
    'dpt': make_vit(
        'DPTConfig',
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=16,
        is_hybrid=False,
    ),
    'mobilenet_v2': lambda **common: transformers.MobileNetV2Config(
        depth_multiplier=0.25, **common
    ),
    'mobilevit': lambda **common: transformers.MobileViTConfig(
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 24, 32, 32, 64],
        num_attention_heads=2,
        aspp_out_channels=16,
        **common,
    ),
    'mobilevitv2': lambda **common: transformers.MobileViTV2Config(
        width_multiplier=0.25, aspp_out_channels=16, **common
    ),
    'segformer': lambda **common: transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=16,
        **common,
    ),
    'upernet': lambda **common: transformers.UperNetConfig(
        backbone_config=swin(),
        hidden_size=16,
        auxiliary_channels=8,
        auxiliary_in_channels=64,
        pool_scales=[1, 2],
        **common,
    ),
}

CLASSES = {kind: architecture.network for kind, architecture in ARCHITECTURES.items()}
"""Class of the library for each kind."""

QUERIES, INSTANCES, SEMANTIC = (
    [kind for kind, row in ARCHITECTURES.items() if row.decoding == decoding]
    for decoding in ('queries', 'instances', 'classes')
)

PROCESSORS = {
    'mask2former': 'Mask2FormerImageProcessor',
    'maskformer': 'MaskFormerImageProcessor',
    'oneformer': 'OneFormerImageProcessor',
    'detr': 'DetrImageProcessor',
    'conditional_detr': 'ConditionalDetrImageProcessor',
    'eomt': 'EomtImageProcessor',
    'eomt_dinov3': 'EomtImageProcessor',
    'videomt': 'VideomtVideoProcessor',
}
"""Class that decodes queries of a kind."""


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
    network = getattr(transformers, CLASSES[kind])(make_config(kind))
    if kind == 'rf_detr':  # else, all probabilities are 0.01
        torch.nn.init.zeros_(network.model.class_embed.bias)
    network.save_pretrained(folder)
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
