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
| `efficiency` | what systems cost, by evaluator and system |
| `counts` | counts of earlier stages that describe the model, by label |
| `judging` | the summary of the judge stage |
| `figures` | the report's figures, as `recipekit.report.blocks.Figure`, of the `data` and `model` |
| `blocks` | what stages state on cards of the `data` and `model`, as blocks of the report |
| `versions` | versions of Python and of the distributions that matter, by name |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from recipekit.report.blocks import Block, Listing, ReportSection, Text
from recipekit.report.efficiency import efficiency_sections
from recipekit.report.markdown import render_markdown
from recipekit.report.metrics import differences_table, evaluator_metrics, headline, metrics_table
from recipekit.report.svg import write_figures
from recipekit.report.text_tables import language_section, without_languages
from recipekit.yaml_format import dump

__all__ = ["evaluation", "figures", "hub_id", "reproduction", "write_card"]

Card = Mapping[str, Any]

FIGURES: Final = "figures"
"""The folder of a card's figures, next to it."""


def write_card(
    folder: Path, front_matter: Mapping[str, Any], title: str, blocks: Sequence[Block]
) -> None:
    """Write a card into a folder: `README.md`, and its figures in `figures/`.

    Raises:
        OSError: The folder cannot be written to.
    """
    front = dump(dict(front_matter))
    shown = FIGURES if write_figures(blocks, folder / FIGURES) else ""
    text = render_markdown([ReportSection(title, blocks)], figures=shown)
    (folder / "README.md").write_text(f"---\n{front}---\n\n{text}", encoding="utf-8")


def figures(card: Card, about: str) -> list[ReportSection]:
    """The report's figures about the `model` or the `data`."""
    found = (card.get("figures") or {}).get(about) or []
    return [ReportSection("Figures", list(found))] if found else []


def hub_id(model: Any) -> str | None:
    """A model's Hub id; None for a local path or package, which other machines do not have."""
    if not isinstance(model, str) or model.startswith(("/", ".", "~", "package:")):
        return None
    return model


def evaluation(card: Card) -> list[ReportSection]:
    """The metrics of every system, as the report shows them."""
    sections = []
    for measured in evaluator_metrics(card.get("metrics") or [], card.get("efficiency")):
        blocks: list[Block] = []
        if result := headline(measured):
            blocks.append(Text(result.sentence))
        main = without_languages(measured)
        blocks.append(metrics_table(main))
        blocks += filter(None, [differences_table(main), language_section(measured)])
        blocks += efficiency_sections(measured)
        sections.append(ReportSection(measured.title, blocks))
    if not sections:
        return []
    return [ReportSection("Evaluation", sections)]


def reproduction(card: Card) -> ReportSection:
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
    return ReportSection("How to reproduce", blocks)
