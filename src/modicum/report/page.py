"""The page as one file: template, style, script and data, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from modicum import durable
from modicum.report import FIGURES, PAGE
from modicum.report.printed import Num, data_block, figure
from modicum.report.run_files import find_run
from modicum.runs import write_json
from modicum.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment

    from modicum.report.blocks import Page

_ASSETS = Path(__file__).parent / "assets"


def write(folder: Path, manifest: dict[str, Any] | None) -> Path:
    """`report.json` with what was counted, then `report.html`."""
    from modicum.report.comparison import compared
    from modicum.report.selection import scored, selected
    from modicum.report.streaming import streamed

    made_by = {"select": selected, "score": scored, "compare": compared, "stream": streamed}
    run = find_run(folder, manifest)
    page = made_by[run.kind](run)
    text = html(page)
    write_json(folder / FIGURES, page.figures)
    durable.write_text(folder / PAGE, text)
    return folder / PAGE


def html(page: Page) -> str:
    """The page's text. Only our own script may run: the policy names it by its hash."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hashed(script)}",
            f"style-src {_hashed(style)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    blocks = [data_block(f"data-{name}", content) for name, content in page.data.items()]
    template = _environment().get_template("page.html.j2")
    return template.render(
        page=page, policy=policy, style=Markup(style), script=Markup(script), data=blocks
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["num"] = lambda value: isinstance(value, Num)
    return made


def _printed(value: Any) -> Any:
    """Whatever a template prints: numbers with their digits, text with nothing hidden in it."""
    if isinstance(value, Num):
        return figure(value)
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
