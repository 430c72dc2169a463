# SPDX-License-Identifier: Apache-2.0
"""ONNX files of other tools as model files: network and decoding joined in one graph.

Read `source.py` (the file), `formats.py` (which outputs are expected), `classes.py` (their names)
and `wrap.py`, which joins them; the decoding is `panoptic_ros/models/plain_onnx/`.
"""
