# SPDX-License-Identifier: Apache-2.0
"""Registry of the figures of each family: one row per figure."""

from .ciae import draw_queries, draw_steps
from .einet import draw_embeddings, draw_heatmaps
from .figure import Figure
from .hle import draw_dimensions, draw_distance, draw_video
from .pisr import draw_centers, draw_classes, draw_encodings
from .sognet import draw_relations

_ENCODINGS = Figure('pisr_c2', draw_encodings)

FIGURES: dict[str, tuple[Figure, ...]] = {
    'hle': (
        Figure('hle_1', draw_distance),
        Figure('hle_3', draw_dimensions),
        Figure('hle_8', draw_video, frames=4),
    ),
    'ciae': (Figure('ciae_4', draw_queries), Figure('ciae_5', draw_steps)),
    'einet': (Figure('einet_2', draw_embeddings), Figure('einet_3', draw_heatmaps)),
    'pisr': (Figure('pisr_5', draw_classes), _ENCODINGS, Figure('pisr_e1', draw_centers)),
    'pisr_panoptic_fpn': (_ENCODINGS,),
    'pisr_upernet': (_ENCODINGS,),
    'sognet': (Figure('sognet_3', draw_relations),),
}
"""By family; `panoptic figures --help` says what each shows."""
