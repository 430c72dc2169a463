# SPDX-License-Identifier: Apache-2.0
"""Panoptic checkpoints of Hugging Face's transformers library: Mask2Former, MaskFormer and others.

Read `config.py`, then `network.py`; decoding is in `models/parts/queries/decode.py`.
`panoptic_training/huggingface.py` reads checkpoints; they are not trained here.
"""
