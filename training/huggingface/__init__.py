# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of Hugging Face transformers as modules of this package.

Read `checkpoint.py`, then `loading.py` (weights), `classes.py` and `processor.py` (pixels and
input size), which it calls. `hub.py` finds the folder of a checkpoint.
"""
