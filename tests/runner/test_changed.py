import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from recipekit.errors import ComponentError, RunError
from recipekit.recipe.load import load_recipe
from recipekit.runner.changed import check_unchanged

RECIPE = """\
recipe: 1
name: demo
encoders:
  student: {{use: bi_encoder, model: ./model}}
collect:
  sources:
    mine: {{use: pairs, file: pairs.jsonl}}
mine:
  retrievers:
    dense: {{use: qdrant, encoder: student, url: "{url}", collection: recipekit-test-changing}}
"""


def test_a_collection_that_changes_after_the_plan_is_told(tmp_path, qdrant):
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(url=qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    name = "recipekit-test-changing"
    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    client.upload_collection(name, vectors=np.eye(4, dtype=np.float32), ids=range(4), wait=True)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    planned = {"section": {"retrievers": {"dense": {"fingerprint": recipe.mine.retrievers["dense"].spec.fingerprint()}}}}

    check_unchanged("mine", recipe.mine, planned)
    client.upload_collection(name, vectors=np.eye(4, dtype=np.float32)[:1], ids=[99], wait=True)
    with pytest.raises(RunError, match=r"mine: what retrievers.dense searches changed since .*points: 4 → 5.*run again"):
        check_unchanged("mine", recipe.mine, planned)
    client.delete_collection(name)
    with pytest.raises(ComponentError, match=rf"mine: dense: Qdrant at {qdrant.url}, collection '{name}' does not have it"):
        check_unchanged("mine", recipe.mine, planned)
    client.close()
