"""One HTML file out of the template, styles, scripts and the data.

What belongs here: how untrusted texts get into the file, and what the file may do in a browser. Task names,
reasons and paths come from whoever wrote the dodo.py: they are data in a JSON block, which scripts put into
the page as text. The policy lets only these very scripts and styles run (by their hashes), and nothing load.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import buildkit

_ASSETS = os.path.join(os.path.dirname(__file__), "assets")
_STYLES = ("vendor/uPlot.min.css", "page.css")
_SCRIPTS = (  # in the order in which they define what the following ones use
    "format", "model", "view", "charts", "timeline_drawing", "timeline_pointer", "timeline", "overview",
    "attention", "stages", "columns", "table", "outcomes", "tables", "details", "keyboard", "live", "main",
)  # fmt: skip
_PLACE = re.compile(r"@(POLICY|VERSION|TITLE|STYLE|DATA|SCRIPT)@")


def build_page(document: Mapping[str, Any]) -> str:
    """Return the page of a `page_document`."""
    style, script = _styles(), _script()
    run = document["run"]
    title = f"{document['project']}, run {run['id']}" if run else str(document["project"])
    parts = {
        "POLICY": html.escape(_policy(style, script, live=document["live"])),
        "VERSION": html.escape(buildkit.__version__),
        "TITLE": html.escape(title.encode("utf-8", "replace").decode()),
        "STYLE": style,
        "DATA": json_in_html(document),
        "SCRIPT": script,
    }
    # One pass: what is put in is never searched for further places.
    return _PLACE.sub(lambda match: parts[match[1]], _read("page.html"))


def json_in_html(value: object) -> str:
    r"""Return JSON that can stand in a `<script>` element, in ASCII.

    `<`, `>` and `&` become `\u003c` and so on: no `</script>`, no `<!--`. The same goes for everything
    beyond ASCII, with it U+2028, U+2029 and halves of surrogate pairs, which no UTF-8 file could hold.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _styles() -> str:
    return "\n".join(map(_read, _STYLES))


def _script() -> str:
    licence = _read("vendor/uPlot.LICENSE").replace("*/", "")
    library = _read("vendor/uPlot.iife.min.js")
    own = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n/*!\n{licence}\n*/\n{library}\n{own}}})();\n'


def _policy(style: str, script: str, *, live: bool) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "connect-src 'self'" if live else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    with open(os.path.join(_ASSETS, name), encoding="utf-8", newline="\n") as file:
        return file.read()
