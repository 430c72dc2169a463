# SPDX-License-Identifier: Apache-2.0
"""Configuration of a checkpoint of the transformers library."""

from dataclasses import dataclass, field
from typing import Any

from panoptic_ros.core.documents import parse_json
from panoptic_ros.models.parts.queries.config import QueryDecodeConfig

ARCHITECTURES = {
    'mask2former': 'Mask2FormerForUniversalSegmentation',
    'maskformer': 'MaskFormerForInstanceSegmentation',
    'oneformer': 'OneFormerForUniversalSegmentation',
    'eomt': 'EomtForUniversalSegmentation',
    'eomt_dinov3': 'EomtDinov3ForUniversalSegmentation',
}
"""Class of the transformers library for each `model_type`."""


MASK2FORMER_SIZE = (384, 384)
"""(height, width) that the library's post-processing scales masks of Mask2Former to, px."""


@dataclass(frozen=True)
class HuggingFaceConfig(QueryDecodeConfig):
    """Network and decoding of its queries; lengths in network-input pixels."""

    checkpoint: str = field(kw_only=True)
    """Text of the checkpoint's config.json."""

    task_tokens: tuple[int, ...] = ()
    """OneFormer's tokens of `the task is panoptic`; empty for other architectures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f'a checkpoint must be one of {", ".join(ARCHITECTURES)}, '
                f'got {self.architecture!r}'
            )

    @property
    def architecture(self) -> str:
        """The checkpoint's `model_type`."""
        return str(self.settings.get('model_type'))

    @property
    def settings(self) -> dict[str, Any]:
        """The checkpoint's config.json.

        Raises:
            ValueError: if it is not a JSON object.
        """
        values = parse_json(self.checkpoint, 'checkpoint')
        if not isinstance(values, dict):
            raise ValueError('checkpoint must hold the JSON object of a config.json')
        return values
