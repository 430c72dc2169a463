# SPDX-License-Identifier: Apache-2.0
"""Transport profiles and shared memory."""

import fcntl

import pytest

from panoptic_ros.core.resources import resource_file
from panoptic_ros.core.transport import NEW_VARIABLE, OLD_VARIABLE, PROFILE
from panoptic_ros.doctor import transport

SHIPPED = str(resource_file(PROFILE))
ROS = {'distribution': 'jazzy', 'middleware': 'rmw_fastrtps_cpp', 'middleware_requested': None}
MB = 1_000_000


def test_the_shipped_profile_is_understood():
    assert transport.read_profile(resource_file(PROFILE)) == {
        'transports': ['SHM', 'UDPV4'],
        'segment': 16 * 2**20,
        'error': '',
    }


PARTICIPANT = '<participant {}><rtps>{}</rtps></participant>'


@pytest.mark.parametrize(
    ('text', 'transports', 'segment', 'error'),
    [
        ('<profiles>', [], None, 'is not valid XML'),
        ('<profiles/>', [], None, 'has no participant'),
        (PARTICIPANT.format('profile_name="x"', ''), [], None, 'has no participant'),
        (  # the transports of Fast DDS are kept
            PARTICIPANT.format('is_default_profile="true"', ''),
            ['SHM', 'UDPv4'],
            transport.DEFAULT_SEGMENT,
            '',
        ),
        (
            '<dds><profiles xmlns="http://x"><transport_descriptors><transport_descriptor>'
            '<transport_id>net</transport_id><type>UDPv4</type></transport_descriptor>'
            '</transport_descriptors>'
            + PARTICIPANT.format(
                'is_default_profile="true"',
                '<userTransports><transport_id>net</transport_id></userTransports>'
                '<useBuiltinTransports>false</useBuiltinTransports>',
            )
            + '</profiles></dds>',
            ['UDPV4'],
            None,
            '',
        ),
    ],
)
def test_profiles_are_read(tmp_path, text, transports, segment, error):
    path = tmp_path / 'profile.xml'
    path.write_text(text)
    found = transport.read_profile(path)
    assert (found['transports'], found['segment']) == (transports, segment)
    assert found['error'].startswith(error) and bool(found['error']) == bool(error)


def test_a_profile_that_cannot_be_read(tmp_path):
    assert 'No such file' in transport.read_profile(tmp_path / 'none.xml')['error']
    assert 'cannot be read' in transport.read_profile(tmp_path)['error']
    (tmp_path / 'big.xml').write_bytes(bytes(transport.MAX_PROFILE + 1))
    assert 'is larger than' in transport.read_profile(tmp_path / 'big.xml')['error']


@pytest.mark.parametrize(
    ('distribution', 'environ', 'words', 'remedy', 'is_problem'),
    [
        ('jazzy', {OLD_VARIABLE: SHIPPED}, None, None, None),
        ('lyrical', {NEW_VARIABLE: SHIPPED}, None, None, None),
        ('jazzy', {'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}, None, None, None),
        ('jazzy', {}, 'no Fast DDS profile is set', f'export {OLD_VARIABLE}={SHIPPED}', False),
        ('kilted', {}, 'no Fast DDS profile is set', f'export {NEW_VARIABLE}=', False),
        ('jazzy', {OLD_VARIABLE: '/none.xml'}, '/none.xml is not in force', 'export', True),
        (
            'jazzy',
            {NEW_VARIABLE: SHIPPED},
            f'{NEW_VARIABLE} is set, but this ROS distribution reads {OLD_VARIABLE}',
            f'export {OLD_VARIABLE}=',
            True,
        ),
        ('lyrical', {OLD_VARIABLE: SHIPPED}, f'reads {NEW_VARIABLE}', 'export', True),
    ],
)
def test_a_profile_that_is_not_in_force(distribution, environ, words, remedy, is_problem):
    facts = transport.transport_facts(ROS | {'distribution': distribution}, environ)
    found = [*transport.transport_findings(facts)]
    if words is None:
        assert not found
        return
    [finding] = found
    assert words in finding.text and remedy in finding.remedy
    assert finding.is_problem == is_problem


def test_a_profile_with_small_segments_is_a_note(tmp_path):
    path = tmp_path / 'profile.xml'
    path.write_text(PARTICIPANT.format('is_default_profile="true"', ''))
    facts = transport.transport_facts(ROS, {OLD_VARIABLE: str(path)})
    [finding] = transport.transport_findings(facts)
    assert '0.5 MB of shared memory' in finding.text and not finding.is_problem


def test_cyclone_needs_a_large_receive_buffer(tmp_path):
    path = tmp_path / 'proc/sys/net/core/rmem_max'
    path.parent.mkdir(parents=True)
    path.write_text('212992\n')
    ros = ROS | {'middleware': 'rmw_cyclonedds_cpp'}
    [finding] = transport.transport_findings(transport.transport_facts(ros, {}, tmp_path))
    assert 'at most 0.2 MB' in finding.text and 'rmem_max' in finding.remedy
    path.write_text('2147483647\n')
    assert not [*transport.transport_findings(transport.transport_facts(ros, {}, tmp_path))]


def memory(tmp_path, free, total=64 * MB, **changes):
    facts = transport.memory_facts(
        transport.transport_facts(ROS, {}), tmp_path, lambda folder: (total, free)
    )
    return facts | changes


@pytest.mark.parametrize(
    ('free', 'left', 'container', 'words', 'remedy'),
    [
        (60 * MB, 0, None, None, None),
        (20 * MB, 0, 'docker', '20 MB of 64 MB of shared memory', '--shm-size=256m'),
        (20 * MB, 0, None, 'need 17 MB each', 'remount,size=256m'),
        (20 * MB, 40 * MB, 'docker', '20 MB of 64 MB of shared memory', 'rm /dev/shm/fast*'),
        (60 * MB, 1 * MB, None, 'segments of ended ROS processes', 'rm /dev/shm/fast*'),
    ],
)
def test_shared_memory_must_hold_two_processes(tmp_path, free, left, container, words, remedy):
    facts = memory(tmp_path, free, left_over_files=left // MB, left_over_bytes=left)
    found = [*transport.memory_findings(facts, True, container)]
    if words is None:
        assert not found
        return
    assert words in found[0].text and remedy in found[0].remedy
    assert found[0].is_problem == (free < 33 * MB)
    assert not [*transport.memory_findings(facts, False, container)]  # another middleware


def test_shared_memory_that_is_missing_or_not_writable(tmp_path, monkeypatch):
    facts = transport.memory_facts(transport.transport_facts(ROS, {}), tmp_path / 'none')
    [finding] = transport.memory_findings(facts, True, None)
    assert facts['total'] is None and 'cannot be used (No such file' in finding.text
    monkeypatch.setattr(transport.os, 'access', lambda *_: False)
    [finding] = transport.memory_findings(memory(tmp_path, 60 * MB), True, None)
    assert 'not writable' in finding.text and finding.is_problem


def test_only_segments_without_a_lock_are_left_over(tmp_path, monkeypatch):
    names = ('fastrtps_00ab', 'fastdds_11cd', 'fastrtps_22ef', 'fastrtps_port7411')
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / f'{name}_el').touch()
    (tmp_path / 'fastrtps_33').touch()  # has no lock file
    files = set(tmp_path.iterdir())
    with (tmp_path / 'fastrtps_22ef_el').open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not transport.left_over_files(files)  # their owners may not have locked them yet
        monkeypatch.setattr(transport, 'YOUNG_S', -1.0)
        left = [path.name for path in transport.left_over_files(files)]
    assert left == ['fastdds_11cd', 'fastrtps_00ab']
