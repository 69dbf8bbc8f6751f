"""What a row says about itself beside its turns: the task it belongs to, and its tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modicum.readers.formats import Columns
from modicum.readers.turns import BadRow, as_text


def task_of(row: Mapping[str, Any], columns: Columns) -> str | None:
    """The task of a row: text, stripped, or a number as text; None where it is null or blank.

    A column that merely happens to be called `task` is no fault whatever it holds; in one that
    the user named, a list or an object is.
    """
    value = columns.get(row, "task")
    if "task" not in columns.mapped and not isinstance(value, str | bool | int | float):
        return None
    text = as_text(value, columns.mapped.get("task", "task"))
    return (text and text.strip()) or None


def tags_of(row: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | None:
    """The tags of a row, stripped, each once, in their order; None where there are none.

    They stand in a list of texts, in text that holds such a list as JSON, or between commas.
    """
    value = columns.get(row, "tags")
    if value is None or value != value:
        return None
    texts = _in_text(value) if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRow("tags are not a list of texts", f"{columns.mapped['tags']} is {value!r}"[:80])
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip())) or None


def _in_text(text: str) -> object:
    # In brackets that JSON cannot read, as Python prints a list, commas would give broken tags.
    if not (text.strip().startswith("[") and text.strip().endswith("]")):
        return text.split(",")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
