# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracker."""

from dataclasses import dataclass

from panoptic_ros.core.settings import check_settings, setting

RENAMED = {
    'gate': 'match_threshold',
    'weak_gate': 'low_score_match_threshold',
    'high_score': 'high_score_threshold',
    'new_score': 'new_track_threshold',
    'near_factor': 'box_expansion',
    'near_growth': 'box_expansion_rate',
    'reid_reach': 'reid_max_speed',
    'velocity_s': 'velocity_time_constant',
    'embedding_s': 'embedding_time_constant',
    'class_s': 'class_time_constant',
}
"""Present names of settings by their earlier names."""


@dataclass(frozen=True)
class TrackerConfig:
    """How the things of an image are matched with tracks; `tracker.*` of the node's parameters.

    Times are seconds of the image stamps, so that all settings mean the same at any image rate.
    The defaults are tuned on the synthetic city's validation streets (`panoptic tune-tracker`).
    """

    max_age: float = setting(
        1.5,
        'Seconds that a track is kept after its last match, by image stamps. Two images further '
        'apart than this share no track.',
        above=0,
        maximum=3600,
    )
    min_hits: int = setting(
        3, 'Consecutive images with a match that confirm a track.', minimum=1, maximum=1000
    )
    embedding_weight: float = setting(
        0.35, 'Weight of the embedding distance in the cost of a match.', minimum=0, maximum=1000
    )
    iou_weight: float = setting(
        1.0,
        'Weight of the missing overlap, 1 - IoU, in the cost of a match. With 0, a thing may '
        'reappear anywhere in the next image.',
        minimum=0,
        maximum=1000,
    )
    match_threshold: float = setting(
        0.65,
        'A track and a segment match below this cost: the weighted mean of both distances, 0 to '
        '1, and the class cost.',
        above=0,
        maximum=1,
    )
    class_cost: float = setting(
        0.3,
        "Penalty for a change of class: this value times the share of the track's class votes "
        'that are for other classes is added to the cost of a match. With 1, no track changes its '
        'class.',
        minimum=0,
        maximum=1,
    )
    high_score_threshold: float = setting(
        0.0,
        'Segments with at least this score are matched first; those of lower scores with the '
        'tracks that remain.',
        minimum=0,
        maximum=1,
    )
    low_score_match_threshold: float = setting(
        0.55, 'The match_threshold of segments below high_score_threshold.', above=0, maximum=1
    )
    new_track_threshold: float = setting(
        0.0,
        'Segments with at least this score start a track if they match none; the others stay '
        'untracked.',
        minimum=0,
        maximum=1,
    )
    tentative_age: float = setting(
        0.3,
        'Seconds that a tentative track is kept after its last match. With 0, it ends at its '
        'first miss.',
        minimum=0,
        maximum=3600,
    )
    reid_gate: float = setting(
        0.25,
        'Segments and tracks that remain match by appearance only, if the embedding distance '
        'and the class cost together are below this; 0: never.',
        minimum=0,
        maximum=1,
    )
    reid_max_speed: float = setting(
        1.0,
        'Greatest distance between the expected and the new place in such a match, in sizes of '
        'the thing per second since it was last seen.',
        minimum=0,
        maximum=1000,
    )
    box_expansion: float = setting(
        2.8,
        'Factor by which boxes are enlarged before their overlap is computed, to find fast '
        'things again. With 1, boxes are compared as they are.',
        minimum=1,
        maximum=100,
    )
    box_expansion_rate: float = setting(
        1.5,
        'Added to box_expansion for each second since the track was last seen, because its '
        'expected place becomes uncertain.',
        minimum=0,
        maximum=100,
    )
    min_overlap: float = setting(
        0.02,
        'Least overlap of a match by overlap and appearance: few things jump, but many look '
        'alike.',
        minimum=0,
        maximum=1,
    )
    camera_motion: bool = setting(
        False,
        "Measure the camera's motion in the image from the optical flow of stuff, and move all "
        'tracks with it before they are matched.',
    )
    velocity_time_constant: float = setting(
        0.2, 'Time constant of the average of velocities, seconds.', above=0, maximum=3600
    )
    embedding_time_constant: float = setting(
        0.2,
        "Time constant of the averages of a track's embedding and of its spread, seconds.",
        above=0,
        maximum=3600,
    )
    embedding_spread: float = setting(
        0.004,
        'Spread of the embeddings of a new track, as mean cosine distance, until its own is '
        'known.',
        above=0,
        maximum=2,
    )
    spread_factor: float = setting(
        3.0,
        "Multiples of a track's spread at which the embedding distance, 1 - exp(-cosine distance "
        '/ (spread_factor * spread)), is 0.63.',
        above=0,
        maximum=1000,
    )
    class_time_constant: float = setting(
        1.0,
        'Time constant of the averages of class votes, which are weighted by score, and of '
        'scores, seconds.',
        above=0,
        maximum=3600,
    )
    smooth: bool = setting(
        False, "Replace a thing's class by its track's vote, and its score by the track's average."
    )

    def __post_init__(self) -> None:
        check_settings(self, 'tracker.')
        if self.embedding_weight + self.iou_weight == 0:
            raise ValueError('tracker.embedding_weight and tracker.iou_weight must not both be 0')
