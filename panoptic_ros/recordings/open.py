# SPDX-License-Identifier: Apache-2.0
"""Opening of recordings and image sources that the user names."""

from collections.abc import Mapping
from pathlib import Path

from panoptic_ros.recordings import bag_folder
from panoptic_ros.recordings import folder as folders
from panoptic_ros.recordings import video as videos
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.bag_images import BagImages
from panoptic_ros.recordings.folder import ImageFolder, image_files
from panoptic_ros.recordings.image_recording import ImageRecording
from panoptic_ros.recordings.image_source import NOTHING_BESIDE, ImageSource
from panoptic_ros.recordings.recording import Recording
from panoptic_ros.recordings.video import LocalCamera, Video

SUPPORTED = (
    f'a folder of a rosbag2, a file named {", ".join(bag_folder.ENDINGS)}, a video '
    f'({", ".join(videos.ENDINGS)}) or a folder of images ({", ".join(folders.ENDINGS)})'
)


def open_recording(path: Path) -> Recording:
    """Open a bag, a video file or a folder of images.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if it is none of the three or cannot be read.
    """
    if path.is_dir():
        if (path / 'metadata.yaml').exists() or any(map(bag_folder.is_storage, path.iterdir())):
            return Bag(path)
        if image_files(path):
            return ImageRecording(ImageFolder(path))
        raise ValueError(f'{path} holds nothing to replay; expected {SUPPORTED}')
    if bag_folder.is_storage(path) or not path.exists():
        return Bag(path)
    try:
        return ImageRecording(Video(path))
    except ValueError as error:
        if path.suffix.lower() in videos.ENDINGS:
            raise
        raise ValueError(f'{error}; expected {SUPPORTED}') from None


def open_source(
    video: Path | None,
    camera: int | None,
    bag: Path | None,
    loop: bool = False,
    own_topics: tuple[str, ...] = (),
    beside: Mapping[str, str] = NOTHING_BESIDE,
) -> ImageSource:
    """Open the one of three sources that is not None.

    Args:
        video: a video file or a folder of images.
        camera: OpenCV's number of a camera of this machine.
        bag: a bag.
        loop: whether a video, a folder or a bag starts again at its end.
        own_topics: see `camera_topics`.
        beside: see `BagImages`.

    Raises:
        FileNotFoundError: if the file or folder does not exist.
        ValueError: if the source cannot be read.
    """
    if video is not None:
        return ImageFolder(video, loop) if video.is_dir() else Video(video, loop)
    if camera is not None:
        return LocalCamera(camera)
    assert bag is not None
    return BagImages(bag, own_topics, beside, loop)
