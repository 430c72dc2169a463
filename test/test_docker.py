# SPDX-License-Identifier: Apache-2.0
"""The example of containers names files, topics and arguments that exist.

The images are not built here.
"""

import re
from pathlib import Path

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.node.topics import topic_types

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / 'examples' / 'docker'


def test_the_image_gets_what_the_installation_reads():
    lines = (DOCKER / 'Dockerfile.dockerignore').read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith('!')}
    assert lines[0] == '*' and all((ROOT / name).exists() for name in kept)
    read = set(re.findall(r"Path\('(\w+)'\)", (ROOT / 'setup.py').read_text()))
    assert read | {'panoptic_ros', 'training', 'requirements', 'resource', 'setup.py'} <= kept
    for name in re.findall(r'ROS_DISTRO=(\w+)|ros:(\w+)-', (DOCKER / 'Dockerfile').read_text()):
        assert (ROOT / 'requirements' / f'{"".join(name)}.txt').is_file()


def test_the_services_use_the_nodes_files_topics_and_arguments():
    services = read_yaml(DOCKER / 'compose.yaml')['services']
    assert (DOCKER / services['node']['build']['context'] / 'setup.py').is_file()
    for service in services.values():
        profile = service['environment']['FASTRTPS_DEFAULT_PROFILES_FILE']
        assert (ROOT / profile.partition('/share/panoptic_ros/')[2]).is_file()
    launch = services['node']['command'].split()
    assert (ROOT / 'launch' / launch[3]).is_file()
    declared = (ROOT / 'launch' / launch[3]).read_text()
    assert all(f"'{word.partition(':=')[0]}': (" in declared for word in launch[4:])
    recorded = services['recorder']['command'].partition('/results/bag ')[2].split()
    assert {topic.removeprefix('/') for topic in recorded} <= set(topic_types(vision=False))
    assert len(recorded) == 4
