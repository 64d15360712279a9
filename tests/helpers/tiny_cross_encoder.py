"""A tiny CrossEncoder that recognizes passages on food."""

import random
from pathlib import Path

FOOD = "bread cheese butter honey pepper salt".split()
OTHER = "engine piston valve turbine gear wheel".split()


def train_tiny_cross_encoder(tiny_model: Path, folder: Path) -> Path:
    """Write a random BERT with the tiny model's vocabulary, trained briefly; return its folder."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(tiny_model)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(3)
    BertForSequenceClassification(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    model = CrossEncoder(str(folder / "bert"), device="cpu", max_length=32)
    optimizer, draw = torch.optim.Adam(model.parameters(), lr=3e-3), random.Random(1)
    for _ in range(40):
        truth = [draw.random() < 0.5 for _ in range(16)]
        pairs = [
            (draw.choice(FOOD), " ".join(draw.choices(FOOD if relevant else OTHER, k=4)))
            for relevant in truth
        ]
        scores = model(model.preprocess(pairs))["scores"].squeeze(-1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            scores, torch.tensor(truth, dtype=torch.float32)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1, "the model of this test did not learn"
    model.save_pretrained(str(folder / "model"))
    return folder / "model"
