"""The report's html: one file, pictures inside, no script, nothing loaded from elsewhere."""

import base64
from html import escape

from depictqa.evaluation.report import NAMES, Section, Table

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
img { max-width: 100%; background: white; }
section { margin-top: 2.5rem; }
.note { border-left: 4px solid #c60; padding-left: .6rem; }
.wide { overflow-x: auto; }
"""


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head>
<body>
{body}
</body>
</html>
"""


def render(title: str, sections: list[Section]) -> str:
    """The whole page."""
    header = ("answers", "kind", "answered", "figure", "value", "95% from", "to", "notes")
    overview = Table("", header, [_overview(section) for section in sections])
    body = "\n".join([f"<h1>{escape(title)}</h1>", _table(overview), *map(_section, sections)])
    return _PAGE.format(title=escape(title), style=_STYLE, body=body)


def _overview(section: Section) -> tuple:
    kind, interval = NAMES.get(section.kind, section.kind), section.interval or (None, None)
    return (section.name, kind, section.samples, section.measure, section.value, *interval, len(section.notes))


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.name)}</h2>"]
    if section.truth:
        parts.append(f"<p>{escape(NAMES[section.kind])}, against {escape(section.truth)}</p>")
    parts += [f'<p class="note">{escape(note)}</p>' for note in section.notes]
    if section.picture:
        data = base64.b64encode(section.picture).decode()
        parts.append(f'<img alt="Figures of {escape(section.name)}" src="data:image/png;base64,{data}">')
    return "\n".join(["<section>", *parts, *map(_table, section.tables), "</section>"])


def _table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    header = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return f'<div class="wide"><table>{caption}<thead><tr>{header}</tr></thead>\n<tbody>{rows}</tbody></table></div>'


def _cell(value) -> str:
    return f"<td>{escape(_shown(value))}</td>"


def _shown(value) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
