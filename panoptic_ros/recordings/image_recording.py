# SPDX-License-Identifier: Apache-2.0
"""A video file or an image folder as a recording with one image topic."""

from collections.abc import Collection, Iterator, Mapping

from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.recordings.folder import ImageFolder
from panoptic_ros.recordings.image_topics import COMPRESSED_TYPE, IMAGE_TYPE
from panoptic_ros.recordings.recording import Record, RecordedTopic
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS
from panoptic_ros.recordings.video import Video


class ImageRecording:
    """A video file or an image folder, presented as a `Recording` with one image topic.

    Header stamps equal the times of recording: the time since the first image, or, in a folder
    whose files are named by stamps, these stamps.
    """

    TOPIC = '/camera/image_raw'
    damage = ''

    def __init__(self, source: Video | ImageFolder) -> None:
        self._source, self._types = source, BagTypes()
        self._kind = COMPRESSED_TYPE if source.compressed else IMAGE_TYPE
        self.start_ns = source.start_ns if isinstance(source, ImageFolder) else 0
        count = round((source.duration_s or 0) * source.rate_hz)
        self.topics: Mapping[str, RecordedTopic] = {self.TOPIC: RecordedTopic(self._kind, count)}

    def records(
        self, names: Collection[str], start_ns: int = BEGIN_NS, stop_ns: int = END_NS
    ) -> Iterator[Record]:
        """See `Recording`."""
        if self.TOPIC not in names:
            return
        for time_s, image, _ in self._source.images():
            time_ns = self.start_ns + round((time_s or 0) * 1e9)
            if time_ns >= stop_ns:
                return
            if time_ns >= start_ns:
                header = self._types.make(
                    'std_msgs/msg/Header', frame_id='camera', stamp=self._types.time(time_ns)
                )
                fields = image._asdict() | {'data': image.data.reshape(-1)}
                message = self._types.make(self._kind, header=header, **fields)
                yield Record(self.TOPIC, time_ns, message, '')
