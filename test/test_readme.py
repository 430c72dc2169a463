# SPDX-License-Identifier: Apache-2.0
"""README: short, and true to the topics and commands that exist."""

import re
from pathlib import Path

from panoptic_ros.cli.main import COMMANDS
from panoptic_ros.core.resources import SCOPE
from panoptic_ros.node.topics import TOPICS

README, GETTING_STARTED = (
    (Path(__file__).parents[1] / name).read_text()
    for name in ('README.md', 'docs/getting_started.md')
)


def test_readme_is_short() -> None:
    assert README.count('\n') <= 150


def test_topic_table_is_complete() -> None:
    rows = set(re.findall(r'^\| `(panoptic/\w+)` \|', README, re.M))
    assert rows == {topic.name for topic in TOPICS}


def test_pages_say_what_the_packaged_model_can_see() -> None:
    for page in (README, GETTING_STARTED):
        assert SCOPE in ' '.join(page.split())


def test_commands_exist() -> None:
    used = set(re.findall(r'^panoptic ([\w-]+)', README, re.M))
    assert used
    assert used <= set(COMMANDS)


def test_linked_files_exist() -> None:
    links = re.findall(r'\]\(([^)#]+)\)', README)
    assert len(links) > 10
    assert [link for link in links if not (Path(__file__).parents[1] / link).exists()] == []
