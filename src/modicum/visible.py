"""Text from outside as it may be shown: nothing in it is obeyed by a terminal, or turns a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# What a reader would not see, or what would turn the text around it, is shown by a sign.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
_BROKEN = [*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF]
_TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SEEN: dict[int, str] = {
    **_PICTURES,
    0x7F: "\u2421",
    **dict.fromkeys(_BROKEN, "\ufffd"),
    **{code: f"⟨U+{code:04X}⟩" for code in _TURNING},
}
_AS_JSON = {code: f"\\u{code:04x}" for code in [0x7F, *_BROKEN, *_TURNING]}


def visible(text: str) -> str:
    """Text with its control characters, broken ones and overrides of direction shown."""
    return text.replace("\r\n", "\n").translate(_SEEN)


def as_json(result: Any) -> str:
    """JSON for machines, which a terminal can show as well: it says the same, escaped."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1)
    return text.translate(_AS_JSON)


def console(width: int | None = None) -> Console:
    """A console that shows all text it is given, and obeys none."""
    from rich.console import Console

    class Showing(Console):
        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(visible(text), **how)

    return Showing(highlight=False, width=width)
