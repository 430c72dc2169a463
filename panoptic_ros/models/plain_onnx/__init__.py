# SPDX-License-Identifier: Apache-2.0
"""Decoding of networks that come as ONNX files: instances, semantic maps and queries.

Read `config.py`, `instances.py` and `semantic.py`, then `network.py`, which merges them.
`panoptic_training/plain_onnx/` reads the files and joins network and decoding in one graph.
"""
