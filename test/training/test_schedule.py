import pytest

from panoptic_training.schedule import poly, tenths, warmup


@pytest.mark.parametrize(('progress', 'power', 'expected'), [
    (0.0, 0.9, 1.0),
    (0.5, 1.0, 0.5),
    (0.5, 0.9, 0.5358867312681466),
    (0.75, 2.0, 0.0625),
    (1.0, 0.9, 0.0),
    (1.3, 0.9, 0.0),   # a training may overrun its time
    (-0.1, 0.9, 1.0),
])
def test_poly(progress, power, expected):
    assert poly(progress, power) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(('step', 'steps', 'expected'), [
    (0, 0, 1.0),    # no warm-up
    (0, 4, 0.2),    # never 0: the first step learns
    (1, 4, 0.4),
    (3, 4, 0.8),
    (4, 4, 1.0),
    (90, 4, 1.0),
])
def test_warmup(step, steps, expected):
    assert warmup(step, steps) == pytest.approx(expected)


@pytest.mark.parametrize(('step', 'expected'), [
    (0, 1.0), (59, 1.0), (60, 0.1), (79, 0.1), (80, 0.01), (1000, 0.01)])
def test_tenths(step, expected):
    assert tenths(step, [60, 80]) == pytest.approx(expected)
    assert tenths(step, []) == 1
