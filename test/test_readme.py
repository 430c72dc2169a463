# SPDX-License-Identifier: Apache-2.0
"""README: short, and true to the topics and commands that exist."""

import re
from pathlib import Path

from panoptic_ros.cli.main import COMMANDS
from panoptic_ros.node.topics import TOPICS

README = (Path(__file__).parents[1] / 'README.md').read_text()


def test_readme_is_short() -> None:
    assert README.count('\n') <= 150


def test_topic_table_is_complete() -> None:
    rows = set(re.findall(r'^\| `(panoptic/\w+)` \|', README, re.M))
    assert rows == {topic.name for topic in TOPICS}


def test_commands_exist() -> None:
    used = set(re.findall(r'^panoptic ([\w-]+)', README, re.M))
    assert used
    assert used <= set(COMMANDS)


def test_linked_files_exist() -> None:
    links = re.findall(r'\]\(([^)#]+)\)', README)
    assert len(links) > 10
    assert [link for link in links if not (Path(__file__).parents[1] / link).exists()] == []
