# SPDX-License-Identifier: Apache-2.0
"""Search of the tracker's settings."""

import dataclasses
import math

import pytest
from recorded_clips import LABELS, MOVING, clip_of

from panoptic_ros.tracking.config import RENAMED
from panoptic_training.tracking.study import TRACKERS, count
from panoptic_training.tracking.tune import SPACE, keys_of, search


def test_each_tracker_is_searched_in_its_own_keys():
    assert keys_of(TRACKERS['default']) == list(SPACE)
    assert not any('embedding' in key for key in keys_of(TRACKERS['without embeddings']))
    assert 'box_expansion' not in keys_of(TRACKERS['IoU only'])
    for low, high, factors in SPACE.values():
        assert low < high and (low > 0 or not factors)


def test_an_interrupted_search_is_resumed(tmp_path):
    pytest.importorskip('optuna')
    clips = [count(clip_of(MOVING), LABELS)]
    database = tmp_path / 'trials' / 'tune.db'
    first = list(search(clips, LABELS, TRACKERS['IoU only'], database, 2))
    assert len(first) == 2
    again = list(search(clips, LABELS, TRACKERS['IoU only'], database, 3))
    assert len(again) == 3 and again[0] == again[1] == first[1]
    import optuna

    study = optuna.load_study(study_name='tracker', storage=f'sqlite:///{database}')
    assert len(study.trials) == 3
    best, value = again[-1]
    assert value == study.best_value
    assert best.embedding_weight == 0
    assert math.isclose(best.match_threshold, study.best_params['match_threshold'], rel_tol=5e-3)


def test_a_study_under_earlier_names_is_continued(tmp_path):
    optuna = pytest.importorskip('optuna')
    database = tmp_path / 'tune.db'
    storage = f'sqlite:///{database}'
    study = optuna.create_study(storage=storage, study_name='tracker', direction='maximize')
    old_names = {new: old for old, new in RENAMED.items()}
    keys = {key: old_names.get(key, key) for key in keys_of(TRACKERS['IoU only'])}
    study.add_trial(
        optuna.create_trial(
            value=1000.0,
            params={old: SPACE[key][0] for key, old in keys.items()},
            distributions={
                old: optuna.distributions.FloatDistribution(low, high, log=log)
                for key, old in keys.items()
                for low, high, log in [SPACE[key]]
            },
        )
    )
    clips = [count(clip_of(MOVING), LABELS)]
    results = list(search(clips, LABELS, TRACKERS['IoU only'], database, 2))
    best = dataclasses.replace(TRACKERS['IoU only'], **{key: SPACE[key][0] for key in keys})
    assert results == [(best, 1000.0)] * 2
    trials = optuna.load_study(study_name='tracker', storage=storage).trials
    assert [set(trial.params) for trial in trials] == [set(keys.values())] * 2
