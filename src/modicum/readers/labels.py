"""What a row says about itself beside its turns: its task, its tags, and what it could answer."""

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
    return _text_of(row, columns, "task")


def source_of(row: Mapping[str, Any], columns: Columns) -> str | None:
    """Where a row comes from, as it says itself: as with `task_of`, text or a number."""
    return _text_of(row, columns, "source")


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


def choices_of(row: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | None:
    """The answers that are possible, stripped, all of them in their order; None where none are.

    They stand in a list of texts or numbers, or in text that holds such a list as JSON. Whatever
    else a column that happens to be called `choices` holds is no fault; in one that the user named,
    it is.
    """
    value = columns.get(row, "choices")
    if value is None or value != value:
        return None
    found = _parsed(value) if isinstance(value, str) else value
    if isinstance(found, list) and all(isinstance(x, str | bool | int | float) for x in found):
        texts = tuple((as_text(x, "choices") or "").strip() for x in found)
        if all(texts):
            return texts or None
    if "choices" not in columns.mapped:
        return None
    named = f"{columns.mapped['choices']} is {value!r}"[:80]
    raise BadRow("choices are not a list of texts", named)


def gold_of(row: Mapping[str, Any], columns: Columns, asked: bool) -> str | None:
    """The answer that is right, or its letter or number: as with `task_of`, text or a number.

    None where nobody `asked` for it and the user did not name its column: in most pools `answer`
    holds a whole answer, which would be held twice.
    """
    return _text_of(row, columns, "gold") if asked or "gold" in columns.mapped else None


def _text_of(row: Mapping[str, Any], columns: Columns, field: str) -> str | None:
    value = columns.get(row, field)
    if field not in columns.mapped and not isinstance(value, str | bool | int | float):
        return None
    text = as_text(value, columns.mapped.get(field, field))
    return (text and text.strip()) or None


def _in_text(text: str) -> object:
    # In brackets that JSON cannot read, as Python prints a list, commas would give broken tags.
    if not (text.strip().startswith("[") and text.strip().endswith("]")):
        return text.split(",")
    return _parsed(text)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
