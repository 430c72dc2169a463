# SPDX-License-Identifier: Apache-2.0
"""Logic of the launch files, with stand-ins for `launch`, which pip cannot install."""

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
def load(monkeypatch):
    """Return a function that loads a launch file, in an environment without profiles."""
    names = {
        'launch': ('LaunchContext', 'LaunchDescription'),
        'launch.actions': (
            'DeclareLaunchArgument',
            'GroupAction',
            'IncludeLaunchDescription',
            'LogInfo',
            'OpaqueFunction',
            'ResetLaunchConfigurations',
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
    sys.modules['ament_index_python.packages'].get_package_share_directory = '/share/{}'.format
    monkeypatch.delenv('FASTRTPS_DEFAULT_PROFILES_FILE', raising=False)
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)
    monkeypatch.delenv('MALLOC_ARENA_MAX', raising=False)

    def load_file(name):
        path = resource_file(f'launch/{name}')
        # Like launch, which does not register the module.
        namespace = {'__file__': str(path), '__name__': 'panoptic_launch'}
        exec(compile(path.read_text(), str(path), 'exec'), namespace)
        return namespace

    return load_file


@pytest.fixture
def launch_file(load):
    """Return the launch file of the node."""
    return load('panoptic.launch.py')


@pytest.fixture
def with_camera(load):
    """Return the launch file that starts a driver too."""
    return load('with_camera.launch.py')


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


@pytest.mark.parametrize('name', ['panoptic.launch.py', 'with_camera.launch.py'])
def test_each_argument_is_declared_and_described(load, name):
    launch_file = load(name)
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
        camera_info='/camera/camera_info',
        depth='/camera/depth',
        cloud='/lidar/points',
        input_transport='raw',
        score_threshold='0.6',
        autostart='False',
    )
    assert keywords['parameters'][1] == {
        'model': 'city.onnx',
        'device': 'cpu',
        'input_transport': 'raw',
        'score_threshold': 0.6,
        'autostart': False,
        'use_sim_time': True,
    }
    assert keywords['remappings'] == [
        ('image', '/camera/image_raw'),
        ('image/compressed', '/jpeg'),
        ('camera_info', '/camera/camera_info'),
        ('depth', '/camera/depth'),
        ('cloud', '/lidar/points'),
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


def test_log_level_and_respawn_are_those_of_the_process(launch_file):
    keywords = node_of(launch_file)
    assert (keywords['ros_arguments'], keywords['respawn']) == ([], False)
    keywords = node_of(launch_file, log_level='debug', respawn='true')
    assert keywords['ros_arguments'] == ['--log-level', 'debug']
    assert keywords['respawn'] and keywords['respawn_delay'] > 0


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
    _, rviz = started(launch_file, rviz='True', namespace='robot', rviz_frame='camera_optical')
    assert (rviz.keywords['package'], rviz.keywords['namespace']) == ('rviz2', 'robot')
    config, frame = rviz.keywords['arguments'][1::2]
    assert Path(config).is_file() and frame == 'camera_optical'


@pytest.mark.parametrize('driver', ['usb_cam', 'v4l2', 'realsense', 'zed'])
def test_a_driver_is_started_with_the_node_on_its_topics(launch_file, with_camera, driver):
    node, started_driver = started(with_camera, driver=driver, camera='mine')
    (path,), given = node.arguments, dict(node.keywords['launch_arguments'])
    assert Path(path) == resource_file('launch/panoptic.launch.py')
    assert set(given) <= set(launch_file['ARGUMENTS'])
    topics = {name: value for name, value in given.items() if name != 'rviz_frame'}
    assert all(topic.startswith('/') for topic in topics.values())  # whatever the namespace is
    assert ('depth' in topics) == (driver in ('realsense', 'zed'))
    row = with_camera['DRIVERS'][driver]
    if row.executable:
        assert started_driver.keywords['package'] == row.package
        (values,) = started_driver.keywords['parameters']
    else:
        ((scope, include),) = started_driver.arguments
        assert type(scope).__name__ == 'ResetLaunchConfigurations'
        assert include.arguments == (f'/share/{row.package}/launch/{row.launch_file}',)
        values = dict(include.keywords['launch_arguments'])
    assert values == row.values | {row.argument: 'mine'}


def test_the_driver_decides_on_its_camera_if_none_is_named(with_camera):
    _, driver = started(with_camera, driver='v4l2')
    assert driver.keywords['parameters'] == [with_camera['DRIVERS']['v4l2'].values]


def test_an_unknown_driver_is_refused(with_camera):
    with pytest.raises(RuntimeError, match="one of usb_cam, v4l2, realsense, zed, got 'kinect'"):
        started(with_camera, driver='kinect')
