# SPDX-License-Identifier: Apache-2.0
"""Configurations of the decoding of networks that come as ONNX files."""

from dataclasses import dataclass, field

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.config import SHARE, FamilyConfig, Rules, at_least, one_of, threshold
from panoptic_ros.models.parts.queries.config import QueryDecodeConfig

INSTANCE_LAYOUTS = ('yolo', 'yolov5', 'yolo-end2end', 'rf-detr')
"""Layouts of networks that find instances; `instances.py` reads them."""

SEMANTIC_LAYOUTS = ('logits', 'probabilities', 'ids')
"""Layouts of networks that classify each cell; `semantic.py` reads them."""

SUPPRESSED = ('yolo', 'yolov5')
"""Layouts with several boxes for an object, of which suppression keeps the best."""


@dataclass(frozen=True)
class PlainOnnxConfig(FamilyConfig):
    """Decoding of instances, of a semantic map, or of both; lengths in network-input pixels."""

    rules = Rules(
        instances=one_of('', *INSTANCE_LAYOUTS),
        semantic=one_of('', *SEMANTIC_LAYOUTS),
        top_k=at_least(1),
        candidates=at_least(1),
        score_threshold=SHARE,
        nms_threshold=SHARE,
        overlap_threshold=SHARE,
    )

    input_size: tuple[int, int] = field(kw_only=True)
    """(height, width) of the network's input, px."""

    instances: str = ''
    """Layout of the network that finds instances, one of INSTANCE_LAYOUTS; empty for none."""

    instance_class: tuple[int, ...] = ()
    """Class id of each of that network's channels; -1 for a channel that is ignored."""

    semantic: str = ''
    """Layout of the network that classifies cells, one of SEMANTIC_LAYOUTS; empty for none."""

    semantic_class: tuple[int, ...] = ()
    """Class id of each of that network's channels; -1 for a channel whose cells are void."""

    channels_last: bool = False
    """Whether the semantic map is (1, h, w, C)."""

    stride: int = 4
    """Input pixels per cell of the decoded maps: 1, 2 or 4."""

    top_k: int = 100
    """Most instances of an image."""

    candidates: int = 512
    """Most boxes, those of the highest scores, that enter suppression."""

    score_threshold: float = threshold(0.25, 1, 'least score of an instance')
    """Least score of an instance; without instances, least probability of a cell's class."""

    nms_threshold: float = threshold(0.7, 1, 'boxes that share more than this are one instance')
    """IoU above which the worse of two boxes of a class is removed."""

    overlap_threshold: float = threshold(0.5, 1, 'largest part of an instance on better ones')
    """Part of an instance on better ones above which it is removed."""

    min_area: float = threshold(0.0, 1e6, 'least area of an instance, input px')
    """Least area of an instance, px."""

    min_stuff_area: float = threshold(0.0, 1e7, 'least area of a stuff segment, input px')
    """Least area of a stuff segment, px."""

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph that these networks' decoding has."""
        used = super().thresholds()
        if self.instances not in SUPPRESSED:
            del used['nms_threshold']
        if not self.instances:
            del used['overlap_threshold']
            used['score_threshold'] = Threshold(
                self.score_threshold, 0, 1, "least probability of a cell's class"
            )
        return used


@dataclass(frozen=True)
class PlainQueriesConfig(QueryDecodeConfig):
    """Decoding of a network's queries; lengths in network-input pixels."""

    input_size: tuple[int, int] = field(kw_only=True)
    """(height, width) of the network's input, px."""
