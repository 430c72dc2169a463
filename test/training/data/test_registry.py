# SPDX-License-Identifier: Apache-2.0
"""Declarations of the data sets, and the texts that are generated from them."""

import inspect

import pytest

from panoptic_ros.cli.main import main
from panoptic_training.data.registry import DATASETS, dataset_table, open_reader


@pytest.mark.parametrize('data_set', DATASETS.values(), ids=DATASETS.keys())
def test_every_data_set_declares_itself(data_set):
    assert data_set.name.isidentifier() and data_set.help and '|' not in data_set.help
    options = inspect.signature(data_set).parameters
    assert next(iter(options)) == ('folder' if data_set.marks else 'split')
    assert data_set.knows_hidden == ('hidden' in options)
    assert set(data_set.renamed.values()) <= set(options)
    assert not set(data_set.renamed) & set(options)


def test_the_table_and_the_help_list_every_data_set(capsys):
    with pytest.raises(SystemExit):
        main(['data', 'check', '--help'])
    text = capsys.readouterr().out
    for name, data_set in DATASETS.items():
        typed = f'{name}:<folder>' if data_set.marks else name
        assert f'| `{typed}` | {data_set.help} |' in dataset_table()
        assert f'  {typed} ' in text and data_set.help in text


def test_an_option_of_an_earlier_version_gives_its_present_name():
    with pytest.raises(ValueError, match="the option 'within' is called 'max_frame_gap' now"):
        open_reader('synthetic', 'train', within=3)
