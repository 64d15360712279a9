"""Render blocks as one HTML file that needs no network and no other file.

All text is escaped by markupsafe. The page's policy allows its own script, by its hash, and no
other script, frame, form or request, so a passage that becomes markup by mistake still does
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from markupsafe import Markup, escape

from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Example,
    Examples,
    Figure,
    FilePath,
    Headline,
    Line,
    Listing,
    ReportSection,
    Span,
    Strong,
    Table,
    Text,
    spans,
)
from recipekit.report.svg import figure_file

__all__ = ["render_html"]

PAGE = Markup(
    """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
)
DEEPEST_HEADING = 6


def render_html(blocks: Sequence[Block], *, title: str, drawings: Mapping[str, str]) -> str:
    """Blocks as one HTML document.

    Args:
        blocks: The blocks. A single section becomes the page, with links to its sections.
        title: The title of the page.
        drawings: The SVG of each figure by the name of its file. A figure without one shows its
            table.
    """
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return PAGE.format(
        policy=policy,
        title=title,
        style=Markup(_asset("page.css")),
        script=Markup(script),
        body=Markup("\n").join(_Page(drawings).body(blocks)),
    )


def _asset(name: str) -> str:
    return files("recipekit.report").joinpath(name).read_text(encoding="utf-8")


class _Page:
    """Renders the blocks of one page; counts what needs an id of its own."""

    def __init__(self, drawings: Mapping[str, str]) -> None:
        self.drawings = drawings
        self._ids: set[str] = set()

    def body(self, blocks: Sequence[Block]) -> Iterator[Markup]:
        """Everything in `<main>`."""
        match blocks:
            case [ReportSection(title, inner)]:
                sections = [block for block in inner if isinstance(block, ReportSection)]
                head = [block for block in inner if not isinstance(block, ReportSection)]
                ids = [self._new_id(section.title) for section in sections]
                yield Markup("<header>\n<h1>{}</h1>\n{}\n</header>").format(
                    _inline(title), self._all(head, 2)
                )
                if len(sections) > 1:
                    yield _contents(sections, ids)
                for section, name in zip(sections, ids, strict=True):
                    yield self._section(section, 2, name)
            case _:
                yield self._all(blocks, 2)

    def _all(self, blocks: Sequence[Block], level: int) -> Markup:
        return Markup("\n").join(self._block(block, level) for block in blocks)

    def _block(self, block: Block, level: int) -> Markup:
        match block:
            case Text(content):
                return Markup("<p>{}</p>").format(_inline(content))
            case Bullets(items, ordered):
                tag = Markup("ol" if ordered else "ul")
                lines = Markup("\n").join(Markup("<li>{}</li>").format(_inline(i)) for i in items)
                return Markup("<{0}>\n{1}\n</{0}>").format(tag, lines)
            case Listing(text):
                return Markup('<pre tabindex="0"><code>{}</code></pre>').format(text)
            case Table():
                return _table(block)
            case Headline():
                return _headline(block)
            case Figure():
                return self._figure(block)
            case Examples():
                return self._examples(block)
            case ReportSection(title):
                return self._section(block, level, self._new_id(title))

    def _section(self, section: ReportSection, level: int, name: str) -> Markup:
        return Markup('<section id="{0}">\n<h{1}>{2}</h{1}>\n{3}\n</section>').format(
            name,
            min(level, DEEPEST_HEADING),
            _inline(section.title),
            self._all(section.blocks, level + 1),
        )

    def _new_id(self, title: Line) -> str:
        """An id made of a title, which no other element has."""
        words = re.sub(r"[^a-z0-9]+", "-", _plain(title).lower()).strip("-") or "section"
        name, number = words, 1
        while name in self._ids:
            number += 1
            name = f"{words}-{number}"
        self._ids.add(name)
        return name

    def _figure(self, figure: Figure) -> Markup:
        drawing = self.drawings.get(figure_file(figure))
        if drawing is None:
            return _table(figure.table) if figure.table.header else Markup("")
        folded = Markup("")
        if figure.table.rows:
            folded = Markup("\n<details><summary>Numbers</summary>\n{}\n</details>").format(
                _table(figure.table, titled=figure.table.title != figure.title)
            )
        return Markup("<figure>\n<figcaption>{}</figcaption>\n{}{}\n</figure>").format(
            figure.title, Markup(drawing.strip()), folded
        )

    def _examples(self, examples: Examples) -> Markup:
        count = len(examples.items)
        items = Markup("\n").join(map(_example, examples.items))
        search = Markup("")
        if count > 1:
            search = Markup(
                '<p class="search"><input type="search" placeholder="Search {0} examples" '
                'aria-label="Search these examples"> <output>{0} of {0}</output></p>\n'
            ).format(count)
        return Markup('<div class="examples">\n{}{}\n</div>').format(search, items)


def _contents(sections: Sequence[ReportSection], ids: Sequence[str]) -> Markup:
    links = Markup("\n").join(
        Markup('<li><a href="#{}">{}</a></li>').format(name, _inline(section.title))
        for section, name in zip(sections, ids, strict=True)
    )
    return Markup('<nav aria-label="Contents">\n<ul>\n{}\n</ul>\n</nav>').format(links)


def _headline(headline: Headline) -> Markup:
    values = Markup("\n").join(
        Markup("<div><dt>{}</dt><dd>{}</dd><dd>{}</dd></div>").format(*value)
        for value in headline.values
    )
    if values:
        values = Markup("\n<dl>\n{}\n</dl>").format(values)
    return Markup('<div class="headline">\n<p>{}</p>{}\n</div>').format(headline.sentence, values)


def _table(table: Table, *, titled: bool = True) -> Markup:
    """A table that scrolls sideways on its own where it is wider than the page."""
    caption, head = Markup(""), Markup("")
    if table.title and titled:
        caption = Markup('<p class="caption">{}</p>\n').format(_inline(table.title))
    if any(map(_plain, table.header)):
        cells = _cells(table.header, table.left, "th")
        head = Markup("<thead><tr>{}</tr></thead>\n").format(cells)
    rows = Markup("\n").join(
        Markup("<tr>{}</tr>").format(_cells(row, table.left, "td")) for row in table.rows
    )
    name = _plain(table.title) or "Table"
    return Markup(
        '{}<div class="table" role="region" aria-label="{}" tabindex="0"><table>\n{}<tbody>\n{}\n'
        "</tbody></table></div>"
    ).format(caption, name, head, rows)


def _cells(row: Sequence[Line], left: int, tag: str) -> Markup:
    cells = []
    for column, cell in enumerate(row):
        kind = Markup("") if column < left else Markup(' class="n"')
        cells.append(Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), kind, _inline(cell)))
    return Markup("").join(cells)


def _example(example: Example) -> Markup:
    facts = Markup("\n").join(Markup("<li>{}</li>").format(_inline(fact)) for fact in example.facts)
    return Markup(
        "<article>\n<h4>{}</h4>\n<p><code>{}</code> {}</p>\n<ul>\n{}\n</ul>\n</article>"
    ).format(example.query, example.passage_id, example.passage, facts)


def _inline(line: Line) -> Markup:
    return Markup("").join(map(_span, spans(line)))


def _span(span: Span) -> Markup:
    match span:
        case Code(text) | FilePath(text):
            return Markup("<code>{}</code>").format(text)
        case Strong(text):
            return Markup("<strong>{}</strong>").format(text)
        case str(text):
            return escape(text)


def _plain(line: Line) -> str:
    return "".join(span if isinstance(span, str) else span.text for span in spans(line))
