# SPDX-License-Identifier: Apache-2.0
"""Cases that the fuzzer found; each is judged again. Their names start with their target."""

import warnings
from pathlib import Path

import pytest

from fuzz.attempt import attempt
from fuzz.case import Case
from fuzz.targets import load

CASES = sorted((Path(__file__).parent / 'corpus').glob('*.zip'))


@pytest.mark.timeout(60)
@pytest.mark.parametrize('path', CASES, ids=lambda path: path.stem)
def test_case_is_read_rightly_or_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        outcome = attempt(load(path.name.partition('-')[0]), Case.unpack(path), tmp_path / 'try')
    assert outcome.kind == '', outcome.text


def test_there_are_cases():
    assert CASES
