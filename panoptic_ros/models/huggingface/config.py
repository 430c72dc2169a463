# SPDX-License-Identifier: Apache-2.0
"""Architectures of the transformers library, and the configuration of a checkpoint."""

from dataclasses import dataclass, field
from typing import Any, Literal

from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.parts.queries.config import QueryDecodeConfig

Decoding = Literal['queries', 'instances', 'classes']

THRESHOLDS: dict[Decoding, tuple[str, ...]] = {
    'queries': (
        'score_threshold',
        'mask_threshold',
        'overlap_threshold',
        'min_area',
        'min_stuff_area',
    ),
    'instances': ('score_threshold', 'mask_threshold', 'min_area'),
    'classes': ('score_threshold', 'min_area', 'min_stuff_area'),
}
"""Thresholds that each kind of decoding has."""

MASK2FORMER_SIZE = (384, 384)
"""(height, width) that the library's post-processing scales masks of Mask2Former to, px."""


@dataclass(frozen=True)
class Architecture:
    """What is particular about one class of the library; the defaults are Mask2Former's."""

    network: str
    """Name of the class."""

    decoding: Decoding = 'queries'
    """Meaning of the outputs: queries with a class and a mask, of which one class may be `nothing`
    (`parts/queries/decode.py`); queries that are instances only (`parts/queries/instances.py`); or
    a class for each pixel (`parts/components.py`)."""

    class_logits: str = 'class_queries_logits'
    """Output with the logits of classes."""

    mask_logits: str = 'masks_queries_logits'
    """Output with the logits of masks, if it has queries."""

    embedding: str = 'transformer_decoder_last_hidden_state'
    """Output whose first Q tokens are the queries of the last decoder layer, if it has queries."""

    width: str = 'hidden_dim'
    """Setting of the checkpoint, with dots, that is the length of a query."""

    logits_to: tuple[Literal['image', 'cells'] | tuple[int, int], ...] = ()
    """Sizes to which the library scales logits of masks, one after the other, before the sigmoid;
    it scales the probabilities to the cells."""

    weigh_own_mask: bool = True
    """Whether a query's own mask depends on its class probability too, see
    `parts/queries/decode.py`."""

    last_is_nothing: bool = False
    """Whether the last of the checkpoint's own classes means `nothing`; otherwise the network
    predicts one class more than the checkpoint names, unless it decodes `classes`."""

    own_size: str = ''
    """Setting of the checkpoint, with dots, that is the only input size; empty for any size."""

    prompt: str = ''
    """Text of the task that the network takes as a second input."""

    is_video: bool = False
    """Whether the network takes clips; it gets clips of one image."""

    score_threshold: float = 0.5
    """Default of the library's post-processing."""

    min_area: float = 0.0
    """Default least area of an instance, px."""


_DETR: dict[str, Any] = {
    'class_logits': 'logits',
    'mask_logits': 'pred_masks',
    'embedding': 'last_hidden_state',
    'width': 'd_model',
}
_EOMT: dict[str, Any] = {
    'embedding': 'last_hidden_state',
    'width': 'hidden_size',
    'weigh_own_mask': False,
    'own_size': 'image_size',
    'score_threshold': 0.8,
}


def _semantic(network: str, *, own_size: str = '') -> Architecture:
    """Return the row of a network that predicts a class for each pixel.

    Components of less than 16 x 16 px are mostly errors along the boundaries between classes.
    """
    return Architecture(
        f'{network}ForSemanticSegmentation',
        'classes',
        class_logits='logits',
        own_size=own_size,
        score_threshold=0.0,
        min_area=256.0,
    )


ARCHITECTURES = {
    'mask2former': Architecture(
        'Mask2FormerForUniversalSegmentation', logits_to=(MASK2FORMER_SIZE,)
    ),
    'maskformer': Architecture(
        'MaskFormerForInstanceSegmentation', width='decoder_config.hidden_size'
    ),
    'oneformer': Architecture(
        'OneFormerForUniversalSegmentation',
        embedding='transformer_decoder_object_queries',
        prompt='the task is panoptic',
    ),
    'eomt': Architecture('EomtForUniversalSegmentation', logits_to=('image', 'cells'), **_EOMT),
    'eomt_dinov3': Architecture(
        'EomtDinov3ForUniversalSegmentation', logits_to=('image', 'cells'), **_EOMT
    ),
    'videomt': Architecture(
        'VideomtForUniversalSegmentation', logits_to=('cells',), is_video=True, **_EOMT
    ),
    'detr': Architecture('DetrForSegmentation', **_DETR),
    'conditional_detr': Architecture(
        'ConditionalDetrForSegmentation', last_is_nothing=True, **_DETR
    ),
    'rf_detr': Architecture(
        'RfDetrForInstanceSegmentation',
        'instances',
        logits_to=('cells',),
        own_size='backbone_config.image_size',
        **_DETR,
    ),
    'beit': _semantic('Beit'),
    'data2vec-vision': _semantic('Data2VecVision', own_size='image_size'),
    'dpt': _semantic('DPT', own_size='image_size'),
    'mobilenet_v2': _semantic('MobileNetV2'),
    'mobilevit': _semantic('MobileViT'),
    'mobilevitv2': _semantic('MobileViTV2'),
    'segformer': _semantic('Segformer'),
    'upernet': _semantic('UperNet'),
}
"""Architectures by the `model_type` of the checkpoint."""


@dataclass(frozen=True)
class HuggingFaceConfig(QueryDecodeConfig):
    """Network and decoding of its outputs; lengths in network-input pixels."""

    checkpoint: str = field(kw_only=True)
    """Text of the checkpoint's config.json."""

    task_tokens: tuple[int, ...] = ()
    """Tokens of OneFormer's prompt, `the task is panoptic`; empty for other architectures."""

    class_ids: tuple[int, ...] = ()
    """The checkpoint's class of each label, if some of its classes have no label; these become
    void."""

    flip_channels: bool = False
    """Whether the network takes BGR."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings.get('model_type') not in ARCHITECTURES:
            raise ValueError(
                f'a checkpoint must be one of {", ".join(ARCHITECTURES)}, '
                f'got {self.settings.get("model_type")!r}'
            )

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name; those that the decoding has."""
        names = THRESHOLDS[self.architecture.decoding]
        return {name: value for name, value in super().thresholds().items() if name in names}

    @property
    def architecture(self) -> Architecture:
        """Row of the checkpoint's `model_type`."""
        return ARCHITECTURES[self.settings['model_type']]

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
