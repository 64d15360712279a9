"""One of two ranks that evaluate; torchrun starts it with the arguments FOLDER and MODEL.

Measures a file by `sts` and through mteb, and writes the figures, which only the main rank has, and
this rank's number of forward passes to FOLDER/<rank>.json. Both ranks must take part in encoding,
also where an interrupted attempt left a result of mteb on one of them alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recipekit.component import System
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.embed_texts import embed_texts
from recipekit.evaluators.mteb import MtebSpec
from recipekit.evaluators.sts import StsSpec
from recipekit.pipeline.worker import leave
from recipekit.testing import RecordingProgress, context
from recipekit.training.parallel import join_ranks

folder, ranks = Path(sys.argv[1]), join_ranks(2)
made = context(folder / "scratch", ranks=ranks)
encoder = BiEncoderSpec(model=sys.argv[2], precision="fp32", max_tokens_per_batch=16).build(made)
passes = 0


def count(*_: object) -> None:
    global passes
    passes += 1


encoder.register_forward_hook(count)


def embed(texts: Any, side: Any, prompt: str | None = None) -> Any:
    return embed_texts(encoder, texts, side, ranks, RecordingProgress(), prompt=prompt)


system = System("trained", lambda: None, lambda: encoder, "cosine", embed, "weights")  # type: ignore[arg-type, return-value]
file = folder / "sts.jsonl"
figures = {}
specs = {
    "sts": StsSpec(file=file, bootstrap_samples=100),
    "mteb": MtebSpec(sts={"own": {"file": file}}),
}
for name, spec in specs.items():
    rows = spec.build(context(folder / name, ranks=ranks)).evaluate([system])
    figures[name] = {row["metric"]: row["value"] for row in rows}
ranks.barrier()
if ranks.is_main:  # as if only the other rank had finished before both were killed
    for result in (folder / "mteb" / "cache.0").rglob("own.json"):
        result.unlink()
ranks.barrier()
rows = specs["mteb"].build(context(folder / "mteb", ranks=ranks)).evaluate([system])
figures["again"] = {row["metric"]: row["value"] for row in rows}
(folder / f"{ranks.rank}.json").write_text(json.dumps({"figures": figures, "passes": passes}))
leave(0)
