"""How far our int8 is from our fp32 on the trained model, and both from plain ONNX Runtime: 256 documents, 64 queries. And whether
a text's vector depends on what it is asked with: 500 texts in 20 random groupings."""

import json
import random

import numpy

import graphs
from ours import Worker, publish

QUERIES = 64
GROUPED, GROUPINGS, LONGEST_LIST = 500, 20, 32


def cosines(one, other):
    norms = numpy.linalg.norm(one, axis=1) * numpy.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / numpy.maximum(norms, 1e-9)


def kept(one, other, count):
    """Which share of each row's largest entries are the other's largest as well."""
    top = [numpy.argsort(-rows, axis=1, kind="stable")[:, :count] for rows in (one, other)]
    return float(numpy.mean([len(set(left) & set(right)) / count for left, right in zip(*top)]))


def compare(reference, other):
    """Documents and queries of each."""
    likeness = cosines(reference[0], other[0])
    scores = [queries @ documents.T for documents, queries in (reference, other)]
    return {
        "mean_cosine": float(likeness.mean()), "worst_cosine": float(likeness.min()),
        "top_10_kept": kept(reference[0], other[0], 10), "top_100_kept": kept(reference[0], other[0], 100),
        "ranking_top_10": kept(*scores, 10), "identical_rows": int((reference[0] == other[0]).all(axis=1).sum()),
    }  # fmt: skip


def different(worker, texts):
    """Of vectors asked in lists, how many are not the text's own when it is asked alone."""
    alone = {text: worker.embed([text])[0] for text in texts}
    randomness, count = random.Random(GROUPINGS), 0
    for _ in range(GROUPINGS):
        left = randomness.sample(texts, len(texts))
        while left:
            length = randomness.randint(1, LONGEST_LIST)
            together, left = left[:length], left[length:]
            count += sum(alone[text] != found for text, found in zip(together, worker.embed(together), strict=True))
    return count


def measure(directory, programs):
    published = publish(programs, directory)
    texts = json.loads(programs.texts.read_text())
    documents, queries = texts["128"], texts["query"][:QUERIES]
    mixed = [text for of in zip(texts["50"], texts["query"], texts["256"]) for text in of][:GROUPED]
    run = graphs.runner(directory / "fused-pooled.onnx", directory / "tokenizer.json", threads=2)
    plain = tuple(numpy.concatenate([run([text]) for text in of]) for of in (documents, queries))
    found, unlike = {}, {}
    for precision in programs.precisions():
        with Worker(programs, published, precision) as worker:
            found[precision] = tuple(worker.vectors(of, plain[0].shape[1]) for of in (documents, queries))
            unlike[precision] = different(worker, mixed)
    table = {f"lexiscale {precision} against ONNX Runtime fp32": compare(plain, of) for precision, of in found.items()}
    if "int8" in found:
        table["lexiscale int8 against lexiscale fp32"] = compare(found["fp32"], found["int8"])
    return {"table": table, "different": unlike, "compared": GROUPED * GROUPINGS}
