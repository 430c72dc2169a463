# SPDX-License-Identifier: Apache-2.0
"""Label sets of data sets: parsing of class tables, and comparison."""

from panoptic_ros.core.labels import Label, LabelSet


def parse_class_table(table: str) -> LabelSet:
    """Return the label set of lines with category_id, `thing` or `stuff`, colour and name.

    >>> parse_class_table('1 thing dc143c person').labels[0].color
    (220, 20, 60)
    """
    return LabelSet(tuple(_label(line) for line in table.strip().splitlines()))


def _label(line: str) -> Label:
    category_id, kind, color, name = line.split(maxsplit=3)
    red, green, blue = bytes.fromhex(color)
    return Label(name, kind == 'thing', (red, green, blue), int(category_id))


def require_same_classes(one: LabelSet, one_name: str, other: LabelSet, other_name: str) -> None:
    """Require two label sets to have the same classes in the same order.

    Args:
        one: a label set.
        one_name: its owner, for the message.
        other: another label set.
        other_name: its owner.

    Raises:
        ValueError: naming the first class that differs in name or kind, or the counts.
    """
    for i, (label, counterpart) in enumerate(zip(one.labels, other.labels, strict=False)):
        if (label.name, label.is_thing) != (counterpart.name, counterpart.is_thing):
            raise ValueError(
                f'class {i} is {_name_and_kind(label)} in {one_name} and '
                f'{_name_and_kind(counterpart)} in {other_name}, which have {len(one)} and '
                f'{len(other)} classes'
            )
    if len(one) != len(other):
        raise ValueError(f'{one_name} has {len(one)} classes, {other_name} {len(other)}')


def _name_and_kind(label: Label) -> str:
    return f'{label.name!r} ({"thing" if label.is_thing else "stuff"})'
