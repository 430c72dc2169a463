# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of Hugging Face's transformers library: Mask2Former, DETR, SegFormer and others.

Read `config.py`, then `network.py`; decoding is in `models/parts/queries/` and
`models/parts/components.py`.
`panoptic_training/huggingface.py` reads checkpoints; they are not trained here.
"""
