# SPDX-License-Identifier: Apache-2.0
"""Logic of the launch file, with stand-ins for `launch`, which pip cannot install."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from panoptic_ros.core.resources import resource_file
from panoptic_ros.core.transport import NEW_VARIABLE, OLD_VARIABLE


class Made(SimpleNamespace):
    """Stand-in of a launch class that keeps its arguments."""

    def __init__(self, *arguments, **keywords):
        super().__init__(arguments=arguments, keywords=keywords)


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context.launch_configurations[self.name]


@pytest.fixture
def launch_file(monkeypatch):
    """Return the launch file as a module, in an environment without profiles."""
    names = {
        'launch': ('LaunchContext', 'LaunchDescription'),
        'launch.actions': (
            'DeclareLaunchArgument',
            'LogInfo',
            'OpaqueFunction',
            'SetEnvironmentVariable',
        ),
        'launch.substitutions': (),
        'launch_ros': (),
        'launch_ros.actions': ('Node',),
        'ament_index_python': (),
        'ament_index_python.packages': (),
    }
    for name, classes in names.items():
        module = ModuleType(name)
        for kind in classes:
            setattr(module, kind, type(kind, (Made,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules['launch.substitutions'].LaunchConfiguration = LaunchConfiguration
    sys.modules['ament_index_python.packages'].get_packages_with_prefixes = dict
    path = resource_file('launch/panoptic.launch.py')
    namespace = {'__file__': str(path), '__name__': 'panoptic_launch'}
    monkeypatch.delenv('FASTRTPS_DEFAULT_PROFILES_FILE', raising=False)
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)
    monkeypatch.delenv('MALLOC_ARENA_MAX', raising=False)
    exec(compile(path.read_text(), str(path), 'exec'), namespace)
    return namespace


def actions(launch_file, kind: str) -> list[Made]:
    description = launch_file['generate_launch_description']()
    return [action for action in description.arguments[0] if type(action).__name__ == kind]


def started(launch_file, **given: str) -> list[Made]:
    """Return what the launch file starts with these arguments."""
    defaults = {name: value for name, (value, _) in launch_file['ARGUMENTS'].items()}
    context = SimpleNamespace(launch_configurations=defaults | given)
    return [
        made
        for action in actions(launch_file, 'OpaqueFunction')
        for made in action.keywords['function'](context)
    ]


def node_of(launch_file, **given: str) -> dict:
    (node,) = started(launch_file, **given)
    return node.keywords


def test_each_argument_is_declared_and_described(launch_file):
    declared = {
        action.arguments[0]: action.keywords
        for action in actions(launch_file, 'DeclareLaunchArgument')
    }
    assert set(declared) == set(launch_file['ARGUMENTS'])
    assert all(keywords['description'] for keywords in declared.values())


def test_arguments_left_out_do_not_hide_the_parameter_file(launch_file):
    keywords = node_of(launch_file)
    path, parameters = keywords['parameters']
    assert Path(path) == resource_file('config/panoptic.yaml')
    assert parameters == {'use_sim_time': False}
    assert keywords['remappings'] == [('image', 'image')]


def test_arguments_reach_the_node(launch_file):
    keywords = node_of(
        launch_file,
        image='/camera/image_raw',
        model='city.onnx',
        device='cpu',
        use_sim_time='True',
        namespace='robot',
        image_compressed='/jpeg',
    )
    assert keywords['parameters'][1] == {
        'model': 'city.onnx',
        'device': 'cpu',
        'use_sim_time': True,
    }
    assert keywords['remappings'] == [
        ('image', '/camera/image_raw'),
        ('image/compressed', '/jpeg'),
    ]
    assert (keywords['package'], keywords['executable']) == ('panoptic_ros', 'panoptic_node')
    assert keywords['namespace'] == 'robot'


@pytest.mark.parametrize(
    ('image', 'topics'),
    [
        ('/{camera}/image_raw', ('/front/image_raw', '/rear/image_raw')),
        ('image_raw', ('front/image_raw', 'rear/image_raw')),
    ],
)
def test_several_cameras_have_a_topic_each(launch_file, image, topics):
    keywords = node_of(launch_file, cameras='[front, rear]', image=image)
    assert keywords['parameters'][1]['cameras'] == ['front', 'rear']
    assert keywords['remappings'] == list(zip(('front/image', 'rear/image'), topics, strict=True))


def test_a_single_camera_with_a_name_has_topics_without_it(launch_file):
    keywords = node_of(launch_file, cameras='front', image='/cam', image_compressed='/jpeg')
    assert keywords['parameters'][1]['cameras'] == ['front']
    assert keywords['remappings'] == [('image', '/cam'), ('image/compressed', '/jpeg')]


def test_the_environment_is_set_unless_the_user_has_set_it(launch_file, monkeypatch):
    def names() -> dict[str, str]:
        return dict(action.arguments for action in actions(launch_file, 'SetEnvironmentVariable'))

    profile = str(resource_file('config/fastdds.xml'))
    arenas = {'MALLOC_ARENA_MAX': '1'}
    assert names() == dict.fromkeys((OLD_VARIABLE, NEW_VARIABLE), profile) | arenas
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', 'mine.xml')
    assert names() == {'FASTDDS_DEFAULT_PROFILES_FILE': profile} | arenas
    monkeypatch.setenv('MALLOC_ARENA_MAX', '2')
    assert names() == {'FASTDDS_DEFAULT_PROFILES_FILE': profile}


def test_without_rviz_the_node_starts_with_a_line_on_how_to_install_it(launch_file, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    node, line = started(launch_file, rviz='true')
    assert node.keywords['executable'] == 'panoptic_node'
    assert type(line).__name__ == 'LogInfo'
    assert line.keywords['msg'].endswith('sudo apt install ros-jazzy-rviz2')


def test_rviz_shows_the_namespace_of_the_node(launch_file):
    launch_file['get_packages_with_prefixes'] = lambda: {'rviz2': '/opt/ros/jazzy'}
    _, rviz = started(launch_file, rviz='True', namespace='robot')
    assert (rviz.keywords['package'], rviz.keywords['namespace']) == ('rviz2', 'robot')
    assert Path(rviz.keywords['arguments'][1]).is_file()
