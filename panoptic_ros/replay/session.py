# SPDX-License-Identifier: Apache-2.0
"""From a command line's values to a finished folder, and where a killed replay goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import replace_results, write_json
from panoptic_ros.core.version import __version__
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.loading import Loaded, check_for_model, load
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.topics import OWN_IMAGE_TOPICS
from panoptic_ros.recordings.image_topics import choose_cameras
from panoptic_ros.recordings.open import open_recording
from panoptic_ros.replay.compare import Comparison
from panoptic_ros.replay.frame_records import write_records
from panoptic_ros.replay.ground_truth import check_stamps, open_ground_truth
from panoptic_ros.replay.report import write_report
from panoptic_ros.replay.run import Job, Outcome, Progress, replay
from panoptic_ros.replay.summary import SHARED_STAMPS, summarize

UNFINISHED = '.unfinished'
"""Folder in the output of a replay that is not at its end."""

Say = Callable[[str], None]


class Session:
    """A bag, a model and what is wanted of them; checked before long work begins."""

    def __init__(
        self,
        bag: Path,
        model: Path | None,
        config: Path | None,
        images: Sequence[str],
        truths: Sequence[str],
        part: tuple[float, float | None, int],
    ) -> None:
        """Opens everything.

        Args:
            bag: what to replay.
            model: model file; None leaves it to the configuration.
            config: the node's parameter file.
            images: topics of the cameras; all without.
            truths: topics or folders of ground truth, `camera=` before them with several cameras.
            part: start and duration in seconds, and stride.

        Raises:
            FileNotFoundError, ValueError, BackendError: in one line, if something does not fit.
        """
        self.bag = bag
        self.settings = read_parameters(config)
        if model is not None:
            self.settings['model'] = str(model)
        recording = open_recording(bag)
        given = dict(_split(text, bool(len(truths) > 1)) for text in truths)
        self.loaded: Loaded = load(self.settings)
        check_for_model(self.settings, self.loaded.predictor.info)
        # Readers of their own: images and truth are read side by side.
        opened = {
            name: open_ground_truth(text, open_recording(bag), self.loaded.predictor.info.labels)
            for name, text in given.items()
        }
        window_ns = Job(recording, {}, self.settings, {}, *part).window_ns
        self._left_out: dict[str, str] = {}
        cameras = choose_cameras(
            recording,
            images,
            set(given.values()),
            OWN_IMAGE_TOPICS,
            self.settings['input_transport'],
            window_ns,
            self._left_out,
            self.settings['max_image_pixels'],
        )
        named = {_camera(name, list(cameras)): truth for name, truth in opened.items()}
        self.job = Job(recording, cameras, self.settings, named, *part, images)
        self.unmatched = {
            name: check_stamps(truth, self._stamps(cameras[name])) for name, truth in named.items()
        }

    def describe(self) -> Iterator[str]:
        """What is replayed with what, for people."""
        for name, topic in self.job.cameras.items():
            truth = self.job.truths.get(name)
            yield (
                f'camera {name}: {topic}, {self.job.recording.topics[topic].messages} images'
                + (f', ground truth: {truth.name}' if truth else '')
            )
        for topic, reason in self._left_out.items():
            yield f'left out {topic}: {reason}'
        said = self.loaded.describe()
        yield f'model {said["name"]} ({said["hash"]}) on {said["backend"]}, {said["device"]}'
        fallback_reason = self.loaded.predictor.backend.fallback_reason
        if fallback_reason:
            yield f'slower than asked for: {fallback_reason}'
        if not self.loaded.predictor.info.embedding_dim:
            yield (
                'this model gives no embeddings; things are followed by the overlap of their '
                'masks alone'
            )

    def count(self) -> int:
        """Images to be replayed, as far as it is known."""
        topics = self.job.recording.topics
        whole = sum(topics[topic].messages for topic in self.job.cameras.values())
        if self.job.duration_s is None and not self.job.start_s:
            return -(-whole // self.job.stride)
        return sum(1 for _ in self.job.images())

    def replay(self, output: Path, progress: Progress, say: Say) -> dict[str, Any]:
        """Replays in lock-step and leaves everything in a folder.

        Returns:
            The summary.
        """
        work = self._work_folder(output)
        log = work / 'outputs.log'
        if log.exists():
            say('resuming a replay that was interrupted')
        results = work / 'results'
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        try:
            outcome = replay(self.job, self.loaded, results, log, progress)
        except ValueError:  # it would end so again
            shutil.rmtree(work)
            raise
        summary = self.summarize(outcome, 'lock-step')
        self.write(results, outcome, summary)
        replace_results(results, output)
        shutil.rmtree(work)
        for line in tell(summary):
            say(line)
        return summary

    def summarize(self, outcome: Outcome, mode: str) -> dict[str, Any]:
        """See `summarize`."""
        return summarize(self.job, self.loaded, outcome, str(self.bag), mode, self.unmatched)

    def write(
        self,
        folder: Path,
        outcome: Outcome,
        summary: dict[str, Any],
        comparison: Comparison | None = None,
    ) -> None:
        """Writes frames.jsonl, summary.json and report.html into a folder."""
        write_records(outcome.records, folder / 'frames.jsonl')
        write_json(summary, folder / 'summary.json')
        write_report(
            folder / 'report.html',
            summary,
            outcome.records,
            outcome.worst.chosen(),
            self.loaded.predictor.info.labels,
            comparison,
        )

    def _stamps(self, topic: str) -> set[int]:
        recording = self.job.recording
        return {
            header_stamp_ns(record.message)
            for record in recording.records([topic], recording.start_ns)
            if record.message is not None
        }

    def _work_folder(self, output: Path) -> Path:
        """The folder of an unfinished replay, if it is this one; else a new one.

        Raises:
            ValueError: if it is another one.
        """
        work = output / UNFINISHED
        work.mkdir(parents=True, exist_ok=True)
        key, file, log = self._key(), work / 'run.json', work / 'outputs.log'
        if file.is_file() and log.is_file() and log.stat().st_size:
            try:
                other = dict(read_json(file))
            except (ValueError, TypeError):
                other = {}
            differing = [name for name in key if other.get(name) != key[name]]
            if differing:
                raise ValueError(
                    f'{output} holds an unfinished replay with another '
                    f'{", ".join(differing)}; take another folder, or delete {work}'
                )
        else:
            write_json(key, file)
            log.unlink(missing_ok=True)
        return work

    def _key(self) -> dict[str, Any]:
        """What must be the same for the network to give the same."""
        files = [self.bag] if self.bag.is_file() else sorted(self.bag.iterdir())
        backend = self.loaded.predictor.backend
        return json.loads(
            json.dumps(
                {
                    'bag': [[file.name, file.stat().st_size] for file in files if file.is_file()],
                    'model': self.loaded.file_hash,
                    'backend': [backend.name, backend.device, backend.precision],
                    'cameras': self.job.cameras,
                    'configuration': self.settings,
                    'part': [self.job.start_s, self.job.duration_s, self.job.stride],
                    'version': __version__,
                }
            )
        )


def tell(summary: dict[str, Any]) -> Iterator[str]:
    """The summary in a few lines."""
    frames, timing = summary['frames'], summary['timing']
    latency = timing['latency_ms'].get('total', {})
    yield (
        f'{frames["good"]} of {frames["replayed"]} images, '
        f'{_show(timing["rate_hz"], 2)} images/s, '
        f'latency p50 {_show(latency.get("p50"), 0)} ms, p95 {_show(latency.get("p95"), 0)} ms'
    )
    if timing['kept_from_earlier']:
        yield f'the network had seen {timing["kept_from_earlier"]} of them before it was killed'
    for name, camera in summary['cameras'].items():
        for reason, count in camera['bad'].items():
            yield f'camera {name}: {count} bad: {reason}'
        for problem, count in camera['stamps'].items():
            yield f'camera {name}: {count} images: {problem}'
        if camera.get('sharing_a_stamp'):
            yield f'camera {name}: {camera["sharing_a_stamp"]} images {SHARED_STAMPS}'
    if summary['damage']:
        yield (f'the bag is damaged ({summary["damage"]}); {frames["lost"]} images are lost')
    tracks = summary['tracks']
    yield f'{tracks["confirmed"]} tracks'
    if summary['scores']:
        scores = summary['scores']
        video = scores['video']['all']
        yield (
            f'PQ {_show(scores["panoptic"]["all"]["pq"])}, '
            f'mIoU {_show(scores["semantic"]["miou"])}, STQ {_show(video["stq"])}, '
            f'VPQ {_show(video["vpq"])}, IDF1 {_show(video["idf1"])}, '
            f'{video["id_switches"]} id switches'
        )


def _show(value: float | None, digits: int = 1) -> str:
    return 'n/a' if value is None else f'{value:.{digits}f}'


def _camera(name: str, cameras: list[str]) -> str:
    """Whose ground truth it is."""
    if name not in cameras and (name or len(cameras) > 1):
        raise ValueError(
            'with several cameras say whose the ground truth is, --gt CAMERA=...; '
            f'the cameras are {", ".join(cameras)}'
        )
    return name or cameras[0]


def _split(text: str, several: bool) -> tuple[str, str]:
    name, equals, rest = text.partition('=')
    return (name, rest) if equals and (several or not Path(text).exists()) else ('', text)
