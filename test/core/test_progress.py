# SPDX-License-Identifier: Apache-2.0
"""Progress: a bar in a terminal, plain lines in a log, silence for short work."""

import io
import math
from contextlib import redirect_stderr, redirect_stdout

import pytest

from panoptic_ros.core import progress
from panoptic_ros.core.progress import Progress, format_duration, with_bar, working


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, 'time', clock := Clock())
    return clock


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, for `redirect_stderr`: pytest replaces the stream after the fixtures."""
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '100')
    return Terminal()


def items(count, seconds, clock):
    for item in range(count):
        clock.now += seconds
        yield item


@pytest.mark.parametrize('forced', [False, True])
def test_a_log_gets_a_plain_line_a_minute(clock, capsys, monkeypatch, forced):
    if forced:
        monkeypatch.setenv('FORCE_COLOR', '1')
    assert list(with_bar(items(25, 6.5, clock), 25, 'images scored')) == list(range(25))
    assert capsys.readouterr().err.splitlines() == [
        '10 of 25 images scored (40 %), 6.5 s each, 1 min 38 s left',
        '20 of 25 images scored (80 %), 6.5 s each, 32 s left',
        '25 of 25 images scored (100 %), 6.5 s each, took 2 min 42 s',
    ]


def test_work_of_less_than_a_minute_leaves_no_line_in_a_log(clock, capsys):
    list(with_bar(items(10, 5.9, clock), 10, 'images'))
    assert capsys.readouterr().err == ''


def test_a_terminal_gets_a_bar_after_two_seconds(clock, terminal):
    with redirect_stderr(terminal), Progress('steps', 10) as bar:
        for done in range(1, 11):
            clock.now += 0.5
            bar.update(done, f'loss {done}')
            assert bool(terminal.getvalue()) == (done >= 4)
    shown = terminal.getvalue()
    assert '4 of 10 steps (40 %), 2.0/s, 3.0 s left' in shown and 'loss 4' in shown
    assert '10 of 10 steps (100 %), 2.0/s, took 5.0 s' in shown and 'loss 10' in shown


@pytest.mark.parametrize('is_terminal', [False, True])
def test_lines_stand_above_the_bar_unless_they_go_elsewhere(clock, terminal, is_terminal):
    out = Terminal() if is_terminal else io.StringIO()
    with redirect_stdout(out), redirect_stderr(terminal), Progress('steps', 10) as bar:
        clock.now += 3
        bar.update(1)
        print('a.jpg')
    assert (out.getvalue() == 'a.jpg\n') == (not is_terminal)
    assert ('a.jpg' in terminal.getvalue()) == is_terminal


@pytest.mark.parametrize('kind', [KeyboardInterrupt, ValueError])
def test_the_bar_of_unfinished_work_is_removed(clock, terminal, kind):
    with pytest.raises(kind), redirect_stderr(terminal), Progress('steps', 10) as bar:
        clock.now += 3
        bar.update(1)
        raise kind
    assert terminal.getvalue().rstrip('\n').endswith('\x1b[2K')


def test_a_dumb_terminal_is_treated_as_a_log(clock, terminal, monkeypatch):
    monkeypatch.setenv('TERM', 'dumb')
    with redirect_stderr(terminal):
        list(with_bar(items(4, 30.0, clock), 4, 'images'))
    assert '\x1b' not in terminal.getvalue() and '\r' not in terminal.getvalue()
    assert terminal.getvalue().startswith('2 of 4 images (50 %)')


def test_resumed_work_counts_from_its_start_and_its_rate_from_the_resume(clock):
    bar = Progress('steps', 1000, done=900)
    clock.now += 10
    bar.update(950)
    assert bar.line() == '950 of 1000 steps (95 %), 5.0/s, 10 s left'


def test_uneven_work_has_no_rate_and_no_remaining_time(clock):
    progress = Progress('engines built', 1, is_even=False)
    clock.now += 10
    progress.update(0.4, 'timing')
    assert progress.elapsed_s == 10
    assert progress.line() == '0 of 1 engines built (40 %), timing'


def test_a_known_remaining_time_replaces_the_estimate(clock):
    bar = Progress('steps', math.inf)
    clock.now += 10
    bar.update(20, 'loss 1', left_s=90)
    assert bar.line() == '20 steps, 2.0/s, 1 min 30 s left, loss 1'


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0, '0.0 s'),
        (9.96, '10 s'),
        (59.6, '1 min'),
        (3599.6, '1 h'),
        (7261, '2 h 1 min'),
        (86_400 * 3 + 1, '3 d'),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert format_duration(seconds) == text


def test_what_is_being_done_is_one_line_in_a_log(capsys):
    with working('exporting [a]'):
        pass
    assert capsys.readouterr().err == 'exporting [a]\n'


def test_what_is_being_done_is_a_spinner_in_a_terminal(terminal):
    with redirect_stderr(terminal), working('exporting [a]'):
        pass
    assert 'exporting [a]' in terminal.getvalue() and '\x1b[?25h' in terminal.getvalue()
