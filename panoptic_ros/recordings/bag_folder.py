# SPDX-License-Identifier: Apache-2.0
"""The folder of a bag: metadata.yaml and storage files."""

from pathlib import Path

from panoptic_ros.core.documents import DocumentError, read_yaml
from panoptic_ros.core.text import one_line

ENDINGS = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd', '.bag')
"""Endings of the names of storage files, in lower case; capitals are accepted."""


def is_storage(path: Path) -> bool:
    """Return whether a path is a file that is named like a storage file."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def find_storage_files(folder: Path) -> tuple[list[Path], dict[str, int], str]:
    """Find the storage files of a bag by its metadata.yaml, or by their names without one.

    Returns:
        The storage files; the number of messages by topic according to metadata.yaml; and a
        description of what is wrong, empty if nothing is.

    Raises:
        ValueError: if there is no storage file.
    """
    found = sorted(filter(is_storage, folder.iterdir()))
    # A recorder that is killed while it compresses a file leaves it in both forms.
    found = [file for file in found if file.with_suffix('') not in found]
    if not found:
        raise ValueError(
            f'{folder} cannot be read as a bag: it holds no file named {", ".join(ENDINGS)}'
        )
    try:
        metadata = read_yaml(folder / 'metadata.yaml')['rosbag2_bagfile_information']
        names = [Path(str(name)).name for name in metadata['relative_file_paths']]
        counts = {
            str(entry['topic_metadata']['name']): int(entry['message_count'])
            for entry in metadata['topics_with_message_count']
        }
    except FileNotFoundError:
        return found, {}, f'there is no metadata.yaml in {folder}; the recording was not completed'
    except DocumentError as error:
        return found, {}, str(error)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, OSError) as error:
        return found, {}, f"{folder / 'metadata.yaml'} is not a bag's: {type(error).__name__}"
    files, missing = [], []
    for name in dict.fromkeys(names):
        plain = name.removesuffix('.zstd')
        matching = [file for file in found if file.name in (name, plain, f'{plain}.zstd')]
        files += matching[:1]
        missing += [] if matching else [name]
    if missing:
        names = [name or "''" for name in missing]
        problem = f'files are missing in {folder}: {one_line(", ".join(names), 200)}'
        return files or found, counts, problem
    unnamed = ', '.join(file.name for file in found if file not in files)
    problem = unnamed and (
        f'metadata.yaml does not name {unnamed[:200]}, which is not read; remove metadata.yaml '
        'to read all'
    )
    return files, counts, problem
