# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and export of models; the folder is the package `panoptic_training`."""

if __name__ != 'panoptic_training':
    raise ImportError(
        f'the folder training/ is the package panoptic_training, not {__name__}: install the '
        'project (pip install -e .) and import panoptic_training'
    )
