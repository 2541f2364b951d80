"""A model's ONNX graphs, as its users make them:

  logits          [texts, tokens, vocabulary], as common exporters do; whoever runs it pools
  pooled          the maximum over tokens inside, then bias, relu and logarithm; pooled16 with the vocabulary in 16 pieces
  fused-*         the same with ONNX Runtime's own operators for attention, GELU and layer norm
  fused-*-int8    those with dynamic int8 products, weights scaled by channel
  openvino-int8   pooled, quantised with calibration texts by NNCF
"""

import json
import logging
import math

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from sizes import EMBEDDINGS, EPSILON, HEAD, LAYER, PARTS, POSITIONS

CHUNKS = {"pooled": 1, "pooled16": 16}
CALIBRATION_TEXTS = 64


class Graph:
    """Operators one after the other; every weight is taken by its name in the checkpoint."""

    def __init__(self, size, weights, is_fused):
        self.size, self.weights, self.is_fused = size, weights, is_fused
        self.nodes, self.constants = [], {}

    def op(self, kind, *inputs, domain="", **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def own(self, kind, *inputs, **attributes):
        return self.op(kind, *inputs, domain="com.microsoft", **attributes)

    def constant(self, value, name=None):
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(numpy.ascontiguousarray(value), name)
        return name

    def integers(self, *values):
        return self.constant(numpy.array(values, numpy.int64))

    def number(self, value):
        return self.constant(numpy.array(value, numpy.float32))

    def product(self, value, name):
        return self.op("MatMul", value, self.constant(self.weights[f"{name}.weight"].T, f"{name}.transposed"))

    def bias(self, name):
        return self.constant(self.weights[f"{name}.bias"], f"{name}.bias")

    def linear(self, value, name):
        return self.op("Add", self.product(value, name), self.bias(name))

    def scales(self, name):
        return self.constant(self.weights[f"{name}.weight"], f"{name}.weight"), self.bias(name)

    def norm(self, value, name):
        return self.op("LayerNormalization", value, *self.scales(name), axis=-1, epsilon=EPSILON)

    def add_norm(self, value, residual, name, linear):
        """The product's own bias, the residual, and the norm."""
        if self.is_fused:
            return self.own("SkipLayerNormalization", value, residual, *self.scales(name), self.bias(linear), epsilon=EPSILON)
        return self.norm(self.op("Add", self.op("Add", value, self.bias(linear)), residual), name)

    def gelu(self, product, linear):
        if self.is_fused:
            return self.own("BiasGelu", product, self.bias(linear))
        value = self.op("Add", product, self.bias(linear))
        error = self.op("Erf", self.op("Div", value, self.number(math.sqrt(2))))
        return self.op("Mul", self.op("Mul", value, self.op("Add", error, self.number(1))), self.number(0.5))

    def embeddings(self):
        base = EMBEDDINGS[self.size.family]
        words = self.constant(self.weights[f"{base}.word_embeddings.weight"], "words")
        table = self.weights[f"{base}.position_embeddings.weight"]
        if self.size.family == "bert":
            table = table + self.weights[f"{base}.token_type_embeddings.weight"][0]
        length = self.op("Slice", self.op("Shape", "input_ids"), self.integers(1), self.integers(2))
        positions = self.op("Slice", self.constant(table, "positions"), self.integers(0), length, self.integers(0))
        return self.norm(self.op("Add", self.op("Gather", words, "input_ids"), positions), f"{base}.LayerNorm")

    def mask(self):
        if self.is_fused:
            return self.op("Cast", "attention_mask", to=TensorProto.INT32)
        wide = self.op("Unsqueeze", self.op("Unsqueeze", "attention_mask", self.integers(1)), self.integers(2))
        padding = self.op("Sub", self.number(1), self.op("Cast", wide, to=TensorProto.FLOAT))
        return self.op("Mul", padding, self.number(numpy.finfo(numpy.float32).min))

    def attention(self, hidden, mask, part):
        if self.is_fused:
            three = [part[of] for of in ("query", "key", "value")]
            weight = numpy.concatenate([self.weights[f"{name}.weight"].T for name in three], axis=1)
            bias = numpy.concatenate([self.weights[f"{name}.bias"] for name in three])
            return self.own("Attention", hidden, self.constant(weight), self.constant(bias), mask, num_heads=self.size.heads)
        shape = self.integers(0, 0, self.size.heads, self.size.hidden // self.size.heads)

        def heads(of, order):
            return self.op("Transpose", self.op("Reshape", self.linear(hidden, part[of]), shape), perm=order)

        scores = self.op("MatMul", heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]))
        scores = self.op("Div", scores, self.number(math.sqrt(self.size.hidden // self.size.heads)))
        shares = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", shares, heads("value", [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        return self.op("Reshape", mixed, self.integers(0, 0, self.size.hidden))

    def encoder(self):
        hidden, mask = self.embeddings(), self.mask()
        for layer in range(self.size.layers):
            parts = PARTS[self.size.family].items()
            part = {of: f"{LAYER[self.size.family]}.{layer}.{name}" for of, name in parts}
            mixed = self.product(self.attention(hidden, mask, part), part["mixed"])
            hidden = self.add_norm(mixed, hidden, part["norm1"], part["mixed"])
            inner = self.gelu(self.product(hidden, part["inner"]), part["inner"])
            hidden = self.add_norm(self.product(inner, part["outer"]), hidden, part["norm2"], part["outer"])
        return hidden

    def head(self, hidden, kind):
        name = HEAD[self.size.family]
        hidden = self.norm(self.gelu(self.product(hidden, name["transform"]), name["transform"]), name["norm"])
        decoder = self.weights[f"{EMBEDDINGS[self.size.family]}.word_embeddings.weight"]
        bias = self.constant(self.weights[name["bias"]], "decoder.bias")
        if kind == "logits":
            return self.op("Add", self.op("MatMul", hidden, self.constant(decoder.T, "decoder")), bias)
        # Padding gets the state of its text's first token, which leaves the maximum as it is.
        is_token = self.op("Unsqueeze", self.op("Cast", "attention_mask", to=TensorProto.BOOL), self.integers(2))
        first = self.op("Slice", hidden, self.integers(0), self.integers(1), self.integers(1))
        hidden = self.op("Where", is_token, hidden, first)
        maxima = [
            self.op("ReduceMax", self.op("MatMul", hidden, self.constant(rows.T, f"decoder_{number}")), axes=[1], keepdims=0)
            for number, rows in enumerate(numpy.array_split(decoder, CHUNKS.get(kind, 1)))
        ]
        row = self.op("Concat", *maxima, axis=1) if len(maxima) > 1 else maxima[0]
        if kind == "maxima":
            return row
        positive = self.op("Relu", self.op("Add", row, bias))
        return self.op("Log", self.op("Add", positive, self.number(1)))


def write(path, size, weights, head, is_fused=False):
    graph = Graph(size, weights, is_fused)
    output = graph.op("Identity", graph.head(graph.encoder(), head))
    graph.nodes[-1].output[0] = "weights"
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in ("input_ids", "attention_mask")]
    shape = ["texts", "tokens", size.vocabulary] if head == "logits" else ["texts", size.vocabulary]
    outputs = [helper.make_tensor_value_info("weights", TensorProto.FLOAT, shape)]
    body = helper.make_graph(graph.nodes, output, inputs, outputs, list(graph.constants.values()))
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("com.microsoft", 1)] if is_fused else [])
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=8), path)


def tokenizer(path):
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(path))
    loaded.enable_truncation(POSITIONS)
    loaded.enable_padding()
    return loaded


def encode(loaded, texts):
    encodings = loaded.encode_batch(texts)
    ids = numpy.array([encoding.ids for encoding in encodings], numpy.int64)
    return {"input_ids": ids, "attention_mask": numpy.array([encoding.attention_mask for encoding in encodings], numpy.int64)}


def session(path, threads):
    """From ids and mask to the graph's output, by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: loaded.run(None, feeds)[0]


def runner(path, tokens, threads):
    run, loaded = session(path, threads), tokenizer(tokens)
    return lambda texts: run(encode(loaded, texts))


def quantise(path, output):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # It recommends a pass that these graphs do not need.
    logging.disable(logging.WARNING)
    quantize_dynamic(
        str(path), str(output), per_channel=True, reduce_range=False, weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Attention"], extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
    )  # fmt: skip


def quantise_for_openvino(path, tokens, output, texts):
    import nncf
    import openvino

    loaded = tokenizer(tokens)
    samples = nncf.Dataset(texts[:CALIBRATION_TEXTS], lambda text: encode(loaded, [text]))
    model = openvino.Core().read_model(str(path))
    model = nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION_TEXTS)
    openvino.save_model(model, str(output), compress_to_fp16=False)


def write_all(folder, size, weights, texts):
    plain, tokens = folder / "pooled.onnx", folder / "tokenizer.json"
    write(folder / "logits.onnx", size, weights, head="logits")
    write(plain, size, weights, head="pooled")
    for head in CHUNKS:
        fused = folder / f"fused-{head}.onnx"
        write(fused, size, weights, head=head, is_fused=True)
        quantise(fused, folder / f"fused-{head}-int8.onnx")
    check(folder, tokens, texts[:4])
    quantise_for_openvino(plain, tokens, folder / "openvino-int8.xml", texts)
    # Large, and nobody's input any more: the fused graph in one piece is faster than both.
    for path in (plain, folder / "fused-pooled16.onnx"):
        path.unlink()


def check(folder, tokens, texts):
    """All graphs of a model compute the same."""
    found = {path.stem: runner(path, tokens, threads=2)(texts) for path in sorted(folder.glob("*.onnx"))}
    expected = found["pooled"]
    mask = encode(tokenizer(tokens), texts)["attention_mask"][:, :, None]
    errors = {}
    for name, value in found.items():
        if "logits" in name:
            value = (numpy.log1p(numpy.maximum(value, 0)) * mask).max(axis=1)
        cosine = (value * expected).sum(1) / numpy.linalg.norm(value, axis=1) / numpy.linalg.norm(expected, axis=1)
        errors[name] = float(cosine.min())
        if errors[name] < (0.97 if name.endswith("int8") else 0.999999):
            raise SystemExit(f"{folder.name}: {name} differs from pooled: cosine {errors[name]}")
    terms = [int(count) for count in (expected > 0).sum(axis=1)]
    print(f"{folder.name}: {terms} words stay; smallest cosines {json.dumps(errors)}", flush=True)
