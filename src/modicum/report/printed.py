"""Values as the page prints them: numbers with all their digits beside, text as text."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from modicum.visible import visible

_IN_BLOCKS = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Num(NamedTuple):
    """A number of a file, how it is printed, and how deep its cell is shaded (0 to 9)."""

    value: float | None
    form: str = ""  # "%", "+" with its sign, "long" with six digits
    heat: int | None = None


def cut(text: str, most: int) -> str:
    """At most so many characters, with an ellipsis where some are missing."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def figure(number: Num) -> Markup:
    """A number as it is read, with all its digits in `data-value`."""
    value = number.value
    if value is None or not math.isfinite(value):
        return Markup('<span class="none" title="none">–</span>')
    return Markup('<span data-value="{}">{}</span>').format(json.dumps(value), read(number))


def read(number: Num) -> str:
    """A number as people read it."""
    value = number.value
    if value is None:
        return "–"
    if number.form == "%":
        return f"{100 * value:.1f} %"
    sign = "+" if number.form == "+" else ""
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:{sign},.0f}"
    digits = 6 if number.form == "long" else 4
    return f"{value:{sign}.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def data_block(name: str, content: Any) -> Markup:
    """Data for the page's script: JSON in which no character can end the block or open a tag."""
    text = json.dumps(_shown(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    inner = Markup(text.translate(_IN_BLOCKS))
    return Markup('<script type="application/json" id="{}">{}</script>').format(escape(name), inner)


def _shown(content: Any) -> Any:
    if isinstance(content, str):
        return visible(content)
    if isinstance(content, dict):
        return {visible(str(key)): _shown(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_shown(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def sentence(said: str, *values: Num | Markup | str) -> Markup:
    """Our own words with values in their `{}`: numbers with their digits, text as text."""
    shown = (
        figure(value)
        if isinstance(value, Num)
        else value
        if isinstance(value, Markup)
        else Markup("<bdi>{}</bdi>").format(visible(value))
        for value in values
    )
    return Markup(said).format(*shown)
