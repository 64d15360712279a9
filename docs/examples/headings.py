"""A source that reads Markdown files: a heading is the query, the text below it the passage."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from recipekit.component import Context, LocalPath, Source, SourceSpec
from recipekit.records import Label, Passage, Query


class HeadingsSpec(SourceSpec):
    """Markdown headings as queries, and the text below each as its passage."""

    folder: LocalPath
    """The folder to read, with the folders below it."""

    def files(self) -> Mapping[str, Path]:
        """The content of the folder is part of the stage's key; its location is not."""
        return {"folder": self.folder}

    def build(self, context: Context) -> "Headings":
        """Make the source; nothing is read yet."""
        return Headings(self.folder)


class Headings(Source):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> Iterator[Passage | Query | Label]:
        for file in sorted(self.folder.rglob("*.md")):
            parts = file.read_text(encoding="utf-8").split("\n## ")
            for number, part in enumerate(parts[1:]):
                heading, _, text = part.partition("\n")
                id = f"{file.relative_to(self.folder)}#{number}"
                yield Query(id, heading.strip())
                yield Passage(id, text.strip())
                yield Label(id, id)
