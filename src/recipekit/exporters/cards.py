"""What model cards and data cards share: front matter, results, and how to reproduce them.

A card is a `README.md` whose YAML front matter the Hugging Face Hub reads. Exporters receive its
content from the export stage as a mapping, in which every key is optional:

| key | content |
|---|---|
| `name`, `description` | of the recipe |
| `recipe` | the recipe's text, with every default and override written out |
| `command` | the command that repeats the run |
| `base_model` | the encoder that was trained, as the recipe names it, or None |
| `metrics` | the rows of `metrics.json` |
| `counts` | counts of earlier stages that describe the model, by label |
| `judging` | the summary of the judge stage |
| `versions` | versions of Python and of the distributions that matter, by name |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipekit.report.blocks import Block, Listing, Section, Text
from recipekit.report.markdown import render_markdown
from recipekit.report.metrics import comparisons, differences_table, headline, metrics_table
from recipekit.yaml_format import dump

__all__ = ["evaluation", "hub_id", "render_card", "reproduction"]

Card = Mapping[str, Any]


def render_card(front_matter: Mapping[str, Any], title: str, blocks: Sequence[Block]) -> str:
    """The text of a card."""
    front = dump(dict(front_matter))
    return f"---\n{front}---\n\n{render_markdown([Section(title, blocks)])}"


def hub_id(model: Any) -> str | None:
    """A model's Hub id; None for a local path or package, which other machines do not have."""
    if not isinstance(model, str) or model.startswith(("/", ".", "~", "package:")):
        return None
    return model


def evaluation(card: Card) -> list[Section]:
    """The metrics of every system, as the report shows them."""
    sections = []
    for comparison in comparisons(card.get("metrics") or []):
        blocks: list[Block] = []
        if main := headline(comparison):
            blocks.append(Text(main.sentence))
        blocks.append(metrics_table(comparison))
        if differences := differences_table(comparison):
            blocks.append(differences)
        sections.append(Section(comparison.title, blocks))
    if not sections:
        return []
    return [Section("Evaluation", sections)]


def reproduction(card: Card) -> Section:
    """The command, the recipe and the versions that give the same result."""
    blocks: list[Block] = []
    if command := card.get("command"):
        blocks.append(Listing(str(command), "sh"))
    if recipe := str(card.get("recipe") or "").strip():
        blocks += [
            Text("The recipe, with every default and override written out:"),
            Listing(recipe, "yaml"),
        ]
    if versions := card.get("versions"):
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        blocks.append(Text(f"Versions: {listed}."))
    return Section("How to reproduce", blocks)
