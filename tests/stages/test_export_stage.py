import json
from pathlib import Path
from typing import Any

import pytest

from helpers.ranks import FakeRanks
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import EncoderSpec, ExporterSpec, Slot
from recipekit.errors import RunError
from recipekit.exporters.dataset import DatasetExporterSpec
from recipekit.registry import Entry
from recipekit.stages.export.accept import accept
from recipekit.stages.export.export import export
from recipekit.stages.export.section import ExportSection
from recipekit.stages.inputs import StageInputs
from recipekit.testing import RecordingProgress


class Copy(ExporterSpec):
    """Writes what it was given, for assertions."""

    def build(self, context):
        return self

    def export(self, inputs, card, folder):
        (folder / "given.json").write_text(json.dumps({"inputs": sorted(inputs), "card": card}))
        return {"files": 1}


class Broken(ExporterSpec):
    """Fails after it has written something."""

    def build(self, context):
        return self

    def export(self, inputs, card, folder):
        (folder / "half.txt").write_text("half")
        raise KeyError("rows")


class Named(EncoderSpec):
    """An encoder that is only named."""

    model: str

    @property
    def base_model(self) -> str:
        return self.model


def slot(spec) -> Slot:
    made = Slot(use="x")
    made.bind(Entry(spec.kind, "x", "tests", "1", "tests:X"), spec)
    return made


@pytest.fixture
def inputs(tmp_path, tiny_dataset) -> StageInputs:
    (tiny_dataset.path / "manifest.json").write_text(
        json.dumps({"summary": {"queries": {"train": 16}}})
    )
    evaluate = tmp_path / "evaluate"
    evaluate.mkdir()
    (evaluate / "manifest.json").write_text(json.dumps({"summary": {}}))
    (evaluate / "metrics.json").write_text(
        json.dumps([{"system": "trained", "metric": "ndcg@10", "value": 0.5}])
    )
    (evaluate / "rankings" / "held_out").mkdir(parents=True)
    costs = {"trained": {"dimension": 8}}
    (evaluate / "rankings" / "held_out" / "efficiency.json").write_text(json.dumps(costs))
    return StageInputs(
        recipe_name="demo",
        seed=13,
        artifacts={
            "collect": Artifact("collect", "c", tiny_dataset.path),
            "evaluate": Artifact("evaluate", "e", evaluate),
        },
        encoders={"student": slot(Named(model="some/model"))},
        trained="student",
        store=Store(tmp_path / "store"),
        hashes=FileHashes(),
        progress=RecordingProgress(),
        recipe_text="recipe: 1\n",
        description="A demonstration.",
        command="recipekit run demo.yaml",
    )


def section(**specs: ExporterSpec) -> ExportSection:
    return ExportSection(exporters={name: slot(spec) for name, spec in specs.items()})


def test_each_exporter_writes_into_the_folder_of_its_name(inputs, tmp_path):
    out = tmp_path / "out"
    summary = export(inputs, section(data=DatasetExporterSpec(triplets=False), copy=Copy()), out)
    assert summary["copy"] == {"files": 1}
    assert summary["data"]["rows"]["corpus.jsonl"] == 36
    assert (out / "data" / "qrels" / "test.tsv").is_file()
    assert "A demonstration." in (out / "data" / "README.md").read_text()


def test_one_exporters_failure_does_not_stop_the_others(inputs, tmp_path):
    out, inputs.run = tmp_path / "out", tmp_path / "run"
    inputs.run.mkdir()
    summary = export(inputs, section(broken=Broken(), copy=Copy()), out)
    assert summary["copy"] == {"files": 1} and (out / "copy" / "given.json").is_file()
    file = inputs.run / "export.broken.traceback.txt"
    message = f"KeyError: 'rows' (traceback: {file})"
    assert summary["broken"] == {"failed": message}
    assert "in export\n" in file.read_text() and not (out / "broken").exists()
    assert inputs.progress.warnings == [f"broken failed: {message}"]
    made = Artifact("export", "x", out)
    (out / "manifest.json").write_text(json.dumps({"summary": summary}))
    with pytest.raises(RunError) as caught:
        accept(section(copy=Copy()), made, inputs.run)
    assert str(caught.value) == (
        f"broken: {message}. The others (copy) are in {inputs.run}/stages/export. To export again, "
        "add `--from export`"
    )


def test_exporters_that_all_fail_end_the_stage(inputs, tmp_path):
    with pytest.raises(KeyError):
        export(inputs, section(broken=Broken()), tmp_path / "one")
    with pytest.raises(RunError, match="a: KeyError: 'rows'; b: KeyError: 'rows'"):
        export(inputs, section(a=Broken(), b=Broken()), tmp_path / "two")


def test_the_model_card_describes_the_whole_run(inputs, tmp_path):
    export(inputs, section(copy=Copy()), tmp_path / "out")
    given: dict[str, Any] = json.loads((tmp_path / "out" / "copy" / "given.json").read_text())
    assert given["inputs"] == ["metrics", "rankings"]
    card = given["card"]
    assert "torch" in card.pop("versions")
    assert card == {
        "name": "demo",
        "description": "A demonstration.",
        "recipe": "recipe: 1\n",
        "base_model": "some/model",
        "metrics": [{"system": "trained", "metric": "ndcg@10", "value": 0.5}],
        "efficiency": {"held_out": {"trained": {"dimension": 8}}},
        "counts": {"train queries": 16},
        "judging": {},
        "figures": {"data": [], "model": []},
        "blocks": {"data": [], "model": []},
        "passage_vectors": None,
        "command": "recipekit run demo.yaml",
    }


def test_without_training_there_is_no_base_model_and_no_metrics(inputs, tmp_path):
    inputs.trained = None
    inputs.artifacts = {"collect": inputs.artifacts["collect"]}
    export(inputs, section(copy=Copy()), tmp_path / "out")
    card = json.loads((tmp_path / "out" / "copy" / "given.json").read_text())["card"]
    assert (card["base_model"], card["metrics"]) == (None, [])


def test_only_the_main_rank_writes(inputs, tmp_path):
    inputs.ranks = FakeRanks(rank=1, count=2)
    assert export(inputs, section(copy=Copy()), tmp_path / "out") == {}
    assert not (tmp_path / "out").exists()


def test_an_exporter_cannot_have_the_name_of_the_scratch_folder(inputs, tmp_path):
    with pytest.raises(RunError, match=r"export\.exporters\.scratch: this name is reserved"):
        export(inputs, section(scratch=Copy()), tmp_path / "out")


def test_cards_contain_no_local_paths(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs.recipe_text = (
        f"folder: {tmp_path}/data\nfile: {Path.home()}/faq.csv\n"
        f"other: /srv{tmp_path}/data\nnear: {tmp_path}-2/x\n"
    )
    export(inputs, ExportSection(exporters={"copy": slot(Copy())}), tmp_path / "out")
    card = json.loads((tmp_path / "out" / "copy" / "given.json").read_text())["card"]
    assert (
        card["recipe"]
        == f"folder: ./data\nfile: ~/faq.csv\nother: /srv{tmp_path}/data\nnear: {tmp_path}-2/x\n"
    )
