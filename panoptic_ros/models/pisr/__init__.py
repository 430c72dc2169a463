# SPDX-License-Identifier: Apache-2.0
"""PISR: a block that relates the classes and instances of an image to all pixels, on four bases.

Panoptic, Instance and Semantic Relations. Only the supplement of this paper was available: what is
marked "inferred" is a design based on it, not a description of the paper. Read `config.py` and
`block.py`, then one of the bases: `panoptic_deeplab.py` (family `pisr`), `panoptic_fpn.py`,
`upernet.py` or `maskformer.py`. Each decodes as its base does. The losses are
`panoptic_training/losses/pisr.py`, `pisr_panoptic_fpn.py` and `pisr_maskformer.py`.
"""
