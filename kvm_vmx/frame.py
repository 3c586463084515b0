# SPDX-License-Identifier: GPL-2.0-only
"""The frame of every page that is written: one file, light and dark, and nothing to fetch."""

import base64
import hashlib
import html
import json
import pathlib
from collections.abc import Mapping

STYLE = pathlib.Path(__file__).with_name("frame.css")


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole page; the only script that it lets run is this one, known by its hash."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
        script = f"<script>{script}</script>\n"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{STYLE.read_text()}{style}
</style>
</head>
<body>
{body}
{script}</body>
</html>
"""


def data(name: str, value: object) -> str:
    """A value for the script, as JSON that no text in it can end early."""
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def element(tag: str, attributes: Mapping[str, object], inside: str = "") -> str:
    """One element as text; inside is markup already."""
    named = "".join(f' {name}="{html.escape(str(value))}"' for name, value in attributes.items())
    return f"<{tag}{named}>{inside}</{tag}>"
