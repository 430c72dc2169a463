# SPDX-License-Identifier: Apache-2.0
"""The loss of each model family. To add one: a file in losses/ and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from panoptic_ros.models.config import configure

from . import (
    ciae,
    einet,
    hle,
    panoptic_deeplab,
    panoptic_fpn,
    pisr,
    pisr_maskformer,
    pisr_panoptic_fpn,
    sognet,
)

LOSSES: dict[str, tuple[Callable[..., dict[str, Tensor]], type]] = {
    'ciae': (ciae.batch_loss, ciae.CIAELossConfig),
    'einet': (einet.batch_loss, einet.EINetLossConfig),
    'hle': (hle.batch_loss, hle.HLELossConfig),
    'panoptic_deeplab': (panoptic_deeplab.batch_loss, panoptic_deeplab.PanopticDeepLabLossConfig),
    'panoptic_fpn': (panoptic_fpn.batch_loss, panoptic_fpn.PanopticFPNLossConfig),
    'pisr': (pisr.batch_loss, pisr.PISRLossConfig),
    'pisr_maskformer': (pisr_maskformer.batch_loss, pisr_maskformer.PISRMaskFormerLossConfig),
    'pisr_panoptic_fpn': (
        pisr_panoptic_fpn.batch_loss,
        pisr_panoptic_fpn.PISRPanopticFPNLossConfig,
    ),
    'pisr_upernet': (pisr_panoptic_fpn.batch_loss, pisr_panoptic_fpn.PISRPanopticFPNLossConfig),
    'sognet': (sognet.batch_loss, sognet.SOGNetLossConfig),
}
"""By family: its loss, a function of (model, batch, input pixels per cell of the maps,
configuration) that gives named terms and their sum `loss`; and the configuration's class."""


def build_loss(family: str, settings: Mapping[str, Any]) -> Callable[..., dict[str, Tensor]]:
    """The loss of a family, as a function of (model, batch, stride).

    Raises:
        ValueError: for an unknown family or one without a loss, or a setting that it has not.
    """
    if family not in LOSSES:
        raise ValueError(f'no family {family!r} to train; the families are: {", ".join(LOSSES)}')
    loss, config_class = LOSSES[family]
    return partial(loss, config=configure(config_class, settings, f'the loss of {family!r}'))
