# SPDX-License-Identifier: Apache-2.0
"""Model families: one folder per paper, one row per family in `registry.py`.

To read a family: `config.py` (switches), `network.py` (image to maps), `decode.py` (maps to
segments). `base.py` holds what all families share; the parts of several families are in `parts/`.
"""
