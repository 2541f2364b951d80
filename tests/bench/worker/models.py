"""The models to be measured. `tiny` is the demo's, trained. The others have random weights at real sizes: speed does not depend on
weights, and the output's bias is set so that about 300 words of a text stay, as with trained ones: models.py DIRECTORY TINY TEXTS
"""

import json
import shutil
import sys
from pathlib import Path

import numpy
from safetensors.numpy import save_file

import graphs
from sizes import EMBEDDINGS, EPSILON, HEAD, LAYER, PARTS, POSITIONS, SIZES, load

SEED = 6
SPREAD = 0.02
TERMS = 300


def random_weights(size):
    randomness = numpy.random.default_rng(SEED)
    weights = {}

    def matrix(name, *shape):
        weights[name] = randomness.normal(0, SPREAD, shape).astype(numpy.float32)

    def linear(name, inputs, outputs):
        matrix(f"{name}.weight", outputs, inputs)
        weights[f"{name}.bias"] = numpy.zeros(outputs, numpy.float32)

    def norm(name):
        weights[f"{name}.weight"] = numpy.ones(size.hidden, numpy.float32)
        weights[f"{name}.bias"] = numpy.zeros(size.hidden, numpy.float32)

    base = EMBEDDINGS[size.family]
    matrix(f"{base}.word_embeddings.weight", size.vocabulary, size.hidden)
    matrix(f"{base}.position_embeddings.weight", POSITIONS, size.hidden)
    if size.family == "bert":
        matrix(f"{base}.token_type_embeddings.weight", 2, size.hidden)
    norm(f"{base}.LayerNorm")
    for layer in range(size.layers):
        name = {part: f"{LAYER[size.family]}.{layer}.{of}" for part, of in PARTS[size.family].items()}
        for part in ("query", "key", "value", "mixed"):
            linear(name[part], size.hidden, size.hidden)
        norm(name["norm1"])
        linear(name["inner"], size.hidden, size.inner)
        linear(name["outer"], size.inner, size.hidden)
        norm(name["norm2"])
    linear(HEAD[size.family]["transform"], size.hidden, size.hidden)
    norm(HEAD[size.family]["norm"])
    weights[HEAD[size.family]["bias"]] = numpy.zeros(size.vocabulary, numpy.float32)
    return weights


def config(size):
    common = {"vocab_size": size.vocabulary, "max_position_embeddings": POSITIONS, "tie_word_embeddings": True, "pad_token_id": 0}
    if size.family == "distilbert":
        return common | {
            "architectures": ["DistilBertForMaskedLM"], "model_type": "distilbert", "dim": size.hidden, "n_layers": size.layers,
            "n_heads": size.heads, "hidden_dim": size.inner, "activation": "gelu", "sinusoidal_pos_embds": False,
        }  # fmt: skip
    return common | {
        "architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_size": size.hidden, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "intermediate_size": size.inner, "type_vocab_size": 2, "hidden_act": "gelu",
        "layer_norm_eps": EPSILON, "position_embedding_type": "absolute",
    }  # fmt: skip


def widen(tokenizer, vocabulary):
    """The same tokenizer with words that no text has, up to the size of the model's vocabulary."""
    document = json.loads(tokenizer)
    words = document["model"]["vocab"]
    for identifier in range(len(words), vocabulary):
        words[f"[filler{identifier}]"] = identifier
    return json.dumps(document, ensure_ascii=False)


def quiet(folder, size, weights, texts):
    """Sets the bias so that as many words stay as with a trained model."""
    graphs.write(folder / "maxima.onnx", size, weights, head="maxima")
    run = graphs.runner(folder / "maxima.onnx", folder / "tokenizer.json", threads=2)
    maxima = run(texts[:8])
    weights[HEAD[size.family]["bias"]] -= numpy.float32(numpy.quantile(maxima, 1 - TERMS / size.vocabulary))
    (folder / "maxima.onnx").unlink()


def make(name, folder, tiny, texts):
    size = SIZES[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(widen((tiny / "tokenizer.json").read_text(), size.vocabulary))
    shutil.copy(tiny / "tokenizer_config.json", folder)
    if name == "tiny":
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            shutil.copy(tiny / file, folder)
        return
    (folder / "config.json").write_text(json.dumps(config(size), indent=1))
    weights = random_weights(size)
    quiet(folder, size, weights, texts)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def main(directory, tiny, texts, *names):
    passages = json.loads(Path(texts).read_text())["128"]
    for name in names or SIZES:
        folder = Path(directory) / name
        if (folder / "complete").exists():
            continue
        make(name, folder, Path(tiny), passages)
        graphs.write_all(folder, SIZES[name], load(folder / "model.safetensors"), passages)
        (folder / "complete").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
