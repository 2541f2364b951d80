"""What the measured models are made of, and what their checkpoints call it."""

from dataclasses import dataclass

POSITIONS = 512
# As in the demo's model.
EPSILON = 1e-12


@dataclass(frozen=True)
class Size:
    family: str
    layers: int
    hidden: int
    heads: int
    inner: int
    vocabulary: int


SIZES = {
    "tiny": Size("bert", 2, 128, 2, 512, 30522),
    "distil": Size("distilbert", 6, 768, 12, 3072, 30522),
    "bertbase": Size("bert", 12, 768, 12, 3072, 30522),
    # The sizes of a well-known 30 M sparse model, which is a RoBERTa: the arithmetic is that of a BERT.
    "granite30m": Size("bert", 6, 384, 12, 1536, 50265),
}

# What each family calls a part. A layer's parts stand behind its number.
EMBEDDINGS = {"bert": "bert.embeddings", "distilbert": "distilbert.embeddings"}
LAYER = {"bert": "bert.encoder.layer", "distilbert": "distilbert.transformer.layer"}
PARTS = {
    "bert": {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "mixed": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "norm2": "output.LayerNorm",
    },
    "distilbert": {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "mixed": "attention.out_lin",
        "norm1": "sa_layer_norm",
        "inner": "ffn.lin1",
        "outer": "ffn.lin2",
        "norm2": "output_layer_norm",
    },
}
HEAD = {
    "bert": {
        "transform": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias",
    },
    "distilbert": {"transform": "vocab_transform", "norm": "vocab_layer_norm", "bias": "vocab_projector.bias"},
}


def load(path):
    """A checkpoint's tensors, the old names of layer norms replaced by the new ones."""
    from safetensors.numpy import load_file

    return {name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
            for name, value in load_file(path).items()}  # fmt: skip
