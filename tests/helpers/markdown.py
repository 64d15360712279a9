"""Read the project's Markdown pages: their code blocks, headings and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "plugins").rglob("*.md"),
    ]
)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of code with its position in a page."""

    page: Path
    line: int
    language: str
    options: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def code_blocks(*languages: str) -> list[CodeBlock]:
    """Every code block of these languages in all pages."""
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[CodeBlock]:
    fence, start, body = "", 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        stripped = line.strip()
        if not fence and stripped.startswith("```"):
            fence, start, body = stripped.removeprefix("```"), number, []
            fence = fence or "text"
        elif fence and stripped == "```":
            language, *options = fence.split()
            yield CodeBlock(page, start, language, tuple(options), "\n".join(body) + "\n")
            fence = ""
        elif fence:
            body.append(line)
    assert not fence, f"{page}:{start}: a code block is never closed"


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page outside code blocks and comments, with their numbers."""
    code = comment = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip().startswith("```"):
            code = not code
            continue
        comment = comment or line.startswith("<!--")
        if not code and not comment:
            yield number, line
        comment = comment and "-->" not in line


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    for _, line in prose(page):
        if match := re.match(r"#{1,6} (.*)", line):
            anchor = re.sub(r"[^\w\- ]", "", match[1].strip().lower()).replace(" ", "-")
            count = found.get(anchor, 0)
            found[anchor] = count + 1
            if count:
                found[f"{anchor}-{count}"] = 1
    return set(found)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """The targets of a page's links, with their line numbers."""
    for number, line in prose(page):
        without_code = re.sub(r"(?<!\[)`[^`]*`(?!\])", "", line)
        for match in re.finditer(r"\]\(([^)\s]+)\)", without_code):
            yield number, match[1]
