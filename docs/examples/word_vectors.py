"""An encoder that averages the vectors of a text's tokens."""

from recipekit.component import Context, Encoder, EncoderSpec, LocalPath
from recipekit.errors import ModelError


class WordVectorsSpec(EncoderSpec):
    """The mean of the vectors of a text's tokens, with length 1."""

    model: LocalPath
    """A sentence-transformers folder that starts with a StaticEmbedding."""

    def files(self):
        return {"model": self.model}

    def at(self, folder):
        return self.model_copy(update={"model": folder})

    def build(self, context: Context) -> Encoder:
        from sentence_transformers import SentenceTransformer

        return module_class()(SentenceTransformer(str(self.model), device="cpu")[0])


def module_class():
    """Define the module where torch can be imported: not while a recipe is validated."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize
    from torch.nn.functional import normalize
    from torch.nn.utils.rnn import pad_sequence

    class WordVectors(torch.nn.Module, Encoder):
        max_length, max_tokens_per_batch = 4096, 65536
        similarity, precision, tied = "cosine", "fp32", True

        def __init__(self, static):
            super().__init__()
            self.static = static
            self.dimension = static.embedding.embedding_dim

        def tokenize(self, texts, side):
            encodings = self.static.tokenizer.encode_batch(list(texts), add_special_tokens=False)
            ids = [(one.ids or [0])[: self.max_length] for one in encodings]
            return ids, sum(len(one) == self.max_length for one in ids)

        def tokenizer_identity(self, side):
            return [self.static.tokenizer.to_str(), self.max_length]

        def collate(self, ids, side):
            texts = [torch.as_tensor(one, dtype=torch.long) for one in ids]
            here = [torch.ones(len(one)) for one in texts]
            return {"ids": pad_sequence(texts, True), "mask": pad_sequence(here, True)}

        def forward(self, features, side):
            mask = features["mask"][:, :, None]  # (texts, tokens, 1)
            vectors = self.static.embedding.weight[features["ids"]]
            return normalize((vectors * mask).sum(dim=1) / mask.sum(dim=1), dim=1)

        def set_dropout(self, enabled):
            pass  # there is none

        def set_tied(self, tied):
            if not tied:
                raise ModelError("word vectors have one copy for both sides")

        def save(self, folder):
            SentenceTransformer(modules=[self.static, Normalize()], device="cpu").save(str(folder))

    return WordVectors
