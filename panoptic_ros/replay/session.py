# SPDX-License-Identifier: Apache-2.0
"""A replay from the values of a command line to a folder of results."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import replace_results, write_json
from panoptic_ros.core.text import counted
from panoptic_ros.core.version import __version__
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.model_loading import LoadedModel, load_model
from panoptic_ros.node.model_settings import check_for_model
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.topics import (
    BESIDE,
    COMPRESSED_DEPTH_INPUT,
    DEPTH_INPUT,
    INFO_INPUT,
    INPUT_TYPES,
    OWN_IMAGE_TOPICS,
)
from panoptic_ros.recordings.beside import Beside, topics_beside
from panoptic_ros.recordings.image_topics import (
    HOLDS_DEPTH,
    camera_title,
    choose_cameras,
    require_part,
    require_topic,
)
from panoptic_ros.recordings.open import open_recording
from panoptic_ros.recordings.recording import Recording
from panoptic_ros.replay.compare import Comparison, differing
from panoptic_ros.replay.config import Progress, ReplayConfig
from panoptic_ros.replay.counts import COUNTS, counts_of
from panoptic_ros.replay.finished_run import ReplayRun
from panoptic_ros.replay.frame_records import write_records
from panoptic_ros.replay.ground_truth import check_gt_stamps, open_ground_truth
from panoptic_ros.replay.report import write_report
from panoptic_ros.replay.resume import OUTPUTS_LOG, RESULTS, open_work_folder
from panoptic_ros.replay.run import ReplayResult, replay
from panoptic_ros.replay.summary import describe_replay, format_summary, summarize

Log = Callable[[str], None]
"""Receives lines for the user."""


class Session:
    """A recording, a model and options of a replay, opened and checked."""

    def __init__(
        self,
        bag: Path,
        model: Path | None,
        parameter_file: Path | None,
        topics: Sequence[str],
        ground_truths: Sequence[str],
        part: tuple[float, float | None, int] = (0.0, None, 1),
        depths: Sequence[str] = (),
        camera_infos: Sequence[str] = (),
        threads: int | None = None,
        on_cpu: bool = False,
    ) -> None:
        """Open the recording, the model and the ground truth.

        Args:
            bag: what to replay; see `open_recording`.
            model: model file; None uses that of the parameters.
            parameter_file: the node's parameter file.
            topics: image topics to replay; if empty, all with camera images.
            ground_truths: topics or folders, with `camera=` before them for several cameras.
            part: start in seconds, duration in seconds or None, and stride.
            depths: topics of depth, with `camera=` before them for several cameras; if there is
                none for a camera, the one beside its images is used.
            camera_infos: topics of camera_info, likewise.
            threads: CPU threads of the network; None is one per core.
            on_cpu: whether the device `auto` of the parameters is the CPU, also beside a GPU.

        Raises:
            FileNotFoundError: if a file or folder does not exist.
            ValueError: if a file cannot be read or the options do not fit together.
            BackendError: if the model cannot be run.
        """
        self.bag = bag
        self.settings = read_parameters(parameter_file)
        if model is not None:
            self.settings['model'] = str(model)
        if on_cpu and self.settings['device'] == 'auto':
            self.settings['device'] = 'cpu'
        recording = open_recording(bag)
        gt_names = dict(_split(text, len(ground_truths) > 1) for text in ground_truths)
        self.loaded: LoadedModel = load_model(self.settings, threads=threads)
        info = self.loaded.predictor.info
        check_for_model(self.settings, info)
        # Images and ground truth are read alternately, so each has a reader of its own.
        opened = {
            camera: open_ground_truth(name, open_recording(bag), info.network_labels)
            for camera, name in gt_names.items()
        }
        window_ns = ReplayConfig(recording, {}, self.settings, {}, {}, *part).window_ns
        require_part(recording, *window_ns)
        self._left_out: dict[str, str] = {}
        cameras = choose_cameras(
            recording,
            topics,
            set(gt_names.values()),
            OWN_IMAGE_TOPICS,
            self.settings['input_transport'],
            window_ns,
            self._left_out,
            self.settings['max_image_pixels'],
        )
        gts = {_camera_of('--gt', name, list(cameras)): gt for name, gt in opened.items()}
        beside = self._find_beside(recording, cameras, depths, camera_infos)
        self.config = ReplayConfig(recording, cameras, self.settings, gts, beside, *part, topics)
        self.unmatched = {
            camera: check_gt_stamps(gt, self._stamps(cameras[camera]))
            for camera, gt in gts.items()
        }

    def describe(self) -> Iterator[str]:
        """Yield lines that describe recording, cameras and model."""
        for name, topic in self.config.cameras.items():
            gt = self.config.ground_truths.get(name)
            depth = self.config.depth_topic(name)
            yield (
                f'{camera_title(name)}: {topic}, '
                + counted(self.config.recording.topics[topic].messages, 'image')
                + (f', depth: {depth}' if depth else '')
                + (f', ground truth: {gt.name}' if gt else '')
            )
        used = set(map(self.config.depth_topic, self.config.cameras))
        for topic, reason in self._left_out.items():
            if topic not in used:
                hint = '; --depth uses it' if reason.startswith(HOLDS_DEPTH) else ''
                yield f'left out {topic}: {reason}{hint}'
        model = self.loaded.describe()
        yield f'model {model["name"]} ({model["hash"]}) on {model["backend"]}, {model["device"]}'
        fallback_reason = self.loaded.predictor.backend.fallback_reason
        if fallback_reason:
            yield f'slower than requested: {fallback_reason}'
        if not self.loaded.predictor.info.embedding_dim:
            yield (
                'this model gives no embeddings; things are tracked by the overlap of their '
                'masks alone'
            )

    def count(self) -> int:
        """Return the number of images to replay; for a complete damaged recording, an estimate."""
        topics = self.config.recording.topics
        total = sum(topics[topic].messages for topic in self.config.cameras.values())
        if self.config.is_complete:
            return -(-total // self.config.stride)
        return sum(1 for _ in self.config.images())

    def replay(
        self, output: Path, progress: Progress, log: Log
    ) -> tuple[dict[str, Any], ReplayResult]:
        """Replay in lock-step and write all results into a folder.

        Returns:
            The summary and the result.

        Raises:
            ValueError: if the folder holds other results; see `require_same`.
        """
        self.require_same(output, 'lock-step')
        work = open_work_folder(output, self._key())
        outputs_log = work / OUTPUTS_LOG
        if outputs_log.exists():
            log('resuming a replay that was interrupted')
        results = work / 'results'
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        try:
            result = replay(self.config, self.loaded, results, outputs_log, progress)
        except ValueError:  # a resumed replay would end in the same way
            shutil.rmtree(work)
            raise
        summary = self.summarize(result, 'lock-step')
        self.write(results, result, summary)
        replace_results(results, output, RESULTS.mark)
        shutil.rmtree(work)
        for line in format_summary(summary):
            log(line)
        return summary, result

    def require_same(self, output: Path, mode: str) -> None:
        """Refuse a folder whose results are not of an earlier run of this replay.

        Raises:
            ValueError: if the folder holds the results of something else.
        """
        RESULTS.require_own(output)
        path = output / RESULTS.mark
        if not path.is_file():
            return
        now = describe_replay(self.config, self.loaded, str(self.bag), mode)
        try:
            lines = differing(
                *(
                    ReplayRun(str(output), summary, ())
                    for summary in (read_json(path), json.loads(json.dumps(now)))
                )
            )
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f'{path} is damaged; choose another folder or delete it') from None
        if lines:
            raise ValueError(
                f'{output} holds the results of another replay (there vs here: '
                f'{"; ".join(lines)}); choose another folder, or delete it'
            )

    def summarize(self, result: ReplayResult, mode: str) -> dict[str, Any]:
        """See `summary.summarize`."""
        return summarize(self.config, self.loaded, result, str(self.bag), mode, self.unmatched)

    def write(
        self,
        folder: Path,
        result: ReplayResult,
        summary: dict[str, Any],
        comparison: Comparison | None = None,
    ) -> None:
        """Write frames.jsonl, counts.json, summary.json and report.html into a folder."""
        write_records(result.records, folder / 'frames.jsonl')
        if result.scores:
            write_json(counts_of(result.scores), folder / COUNTS, indent=None)
        write_json(summary, folder / 'summary.json')
        write_report(
            folder / 'report.html',
            summary,
            result.records,
            result.worst.chosen(),
            self.loaded.predictor.info.labels,
            comparison,
        )

    def _find_beside(
        self,
        recording: Recording,
        cameras: Mapping[str, str],
        depths: Sequence[str],
        camera_infos: Sequence[str],
    ) -> dict[str, Beside]:
        """Return depth and camera_info of the cameras with depth.

        Raises:
            ValueError: if a named topic does not exist or has another type.
        """
        topics = {
            name: topics_beside(
                recording, topic, {input_: INPUT_TYPES[input_] for input_ in BESIDE}
            )
            for name, topic in cameras.items()
        }
        for flag, texts, inputs in (
            ('--depth', depths, (DEPTH_INPUT, COMPRESSED_DEPTH_INPUT)),
            ('--camera-info', camera_infos, (INFO_INPUT,)),
        ):
            for text in texts:
                given, topic = _split(text, True)
                own = topics[_camera_of(flag, given, list(cameras))]
                kinds = {INPUT_TYPES[input_]: input_ for input_ in inputs}
                kind = require_topic(recording, topic, kinds).kind
                for input_ in inputs:
                    own.pop(input_, None)
                own[kinds[kind]] = topic
        return {
            name: Beside(open_recording(self.bag), own)
            for name, own in topics.items()
            if own.keys() - {INFO_INPUT}
        }

    def _stamps(self, topic: str) -> set[int]:
        recording = self.config.recording
        return {
            header_stamp_ns(record.message)
            for record in recording.records([topic], recording.start_ns)
            if record.message is not None
        }

    def _key(self) -> dict[str, Any]:
        """Return everything that determines the network's outputs, as JSON stores it."""
        files = [self.bag] if self.bag.is_file() else sorted(self.bag.iterdir())
        backend = self.loaded.predictor.backend
        config = self.config
        key = {
            'bag': [[file.name, file.stat().st_size] for file in files if file.is_file()],
            'model': self.loaded.file_hash,
            'backend': [backend.name, backend.device, backend.precision],
            'cameras': config.cameras,
            'configuration': self.settings,
            'part': [config.start_s, config.duration_s, config.stride],
            'version': __version__,
        }
        return dict(json.loads(json.dumps(key)))


def _camera_of(flag: str, name: str, cameras: list[str]) -> str:
    """Return the camera of a flag that the user gave for camera `name` or for none, ''."""
    if name not in cameras and (name or len(cameras) > 1):
        raise ValueError(
            f'with several cameras, name one: {flag} CAMERA=...; '
            f'the cameras are {", ".join(cameras)}'
        )
    return name or cameras[0]


def _split(text: str, several: bool) -> tuple[str, str]:
    """Split `camera=value`; the camera is empty if none is given."""
    camera, equals, name = text.partition('=')
    return (camera, name) if equals and (several or not Path(text).exists()) else ('', text)
