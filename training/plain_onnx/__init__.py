# SPDX-License-Identifier: Apache-2.0
"""ONNX files of other tools as model files: network and decoding joined in one graph.

Read `loading.py` and `source.py` (the file), `formats.py` and `part.py` (its outputs),
`classes.py` and `licence.py`, `joining.py` (one graph) and `wrap.py` (the model file); the
decoding is in `panoptic_ros/models/plain_onnx/`.
"""
