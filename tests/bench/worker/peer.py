"""One peer with one model, as a process that measures when told to, so that several take turns: peer.py PEER DIRECTORY TEXTS

Writes a line of JSON when it is loaded, and one for each line that it reads. Tokenising and leaving out zeros are part of the time, as
of ours. Every peer has two threads: in one run, or in two runs side by side where its name ends in `-side`.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

THREADS = 2
for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OPENVINO_TELEMETRY": "0"}

import numpy  # noqa: E402

import graphs  # noqa: E402



def rows(dense):
    return [(found := row.nonzero()[0], row[found]) for row in dense]


def onnxruntime(graph):
    def load(directory, threads):
        run = graphs.runner(directory / f"{graph}.onnx", directory / "tokenizer.json", threads)
        return lambda: lambda texts: rows(run(texts))

    return load


def onnxruntime_logits(graph):
    """Pooled as everybody does who has logits only."""

    def load(directory, threads):
        loaded = graphs.tokenizer(directory / "tokenizer.json")
        run = graphs.session(directory / f"{graph}.onnx", threads)

        def embed(texts):
            feeds = graphs.encode(loaded, texts)
            mask = feeds["attention_mask"].astype(numpy.float32)[:, :, None]
            return rows((numpy.log1p(numpy.maximum(run(feeds), 0)) * mask).max(axis=1))

        return lambda: embed

    return load


def openvino(directory, threads):
    import openvino

    streams = THREADS // threads
    hint = "LATENCY" if streams == 1 else "THROUGHPUT"
    settings = {"INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": streams, "PERFORMANCE_HINT": hint}
    compiled = openvino.Core().compile_model(directory / "openvino-int8.xml", "CPU", settings | {"INFERENCE_PRECISION_HINT": "f32"})
    loaded = graphs.tokenizer(directory / "tokenizer.json")

    def caller():
        request = compiled.create_infer_request()
        return lambda texts: rows(next(iter(request.infer(graphs.encode(loaded, texts)).values())))

    return caller


def fastembed(directory, threads):
    """The library itself, told where a model of a kind that it knows lies."""
    from fastembed import SparseTextEmbedding

    folder = directory / "fastembed"
    folder.mkdir(exist_ok=True)
    for name, of in {"model.onnx": "logits.onnx", **{name: name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")}}.items():
        (folder / name).unlink(missing_ok=True)
        os.link(directory / of, folder / name)
    model = SparseTextEmbedding("prithivida/Splade_PP_en_v1", threads=threads, specific_model_path=str(folder))
    return lambda: lambda texts: list(model.embed(texts, batch_size=len(texts)))


PEERS = {
    "onnxruntime-fp32-logits": onnxruntime_logits("logits"),
    "onnxruntime-fp32-pooled": onnxruntime("fused-pooled"),
    "onnxruntime-int8-pooled": onnxruntime("fused-pooled-int8"),
    "onnxruntime-int8-pooled16": onnxruntime("fused-pooled16-int8"),
    "openvino-int8": openvino,
    "fastembed": fastembed,
}


def rate(callers, texts, batch, seconds):
    """Documents a second of all callers together, each with its own place in the list."""
    done = [0] * len(callers)
    end = time.perf_counter() + seconds

    def work(number, embed):
        at = number * len(texts) // len(callers)
        while time.perf_counter() < end:
            embed([texts[(at + offset) % len(texts)] for offset in range(batch)])
            at, done[number] = at + batch, done[number] + batch

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=each) for each in enumerate(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"docs_per_s": sum(done) / (time.perf_counter() - began)}


def latency(embed, texts, seconds):
    taken, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        embed([texts[len(taken) % len(texts)]])
        taken.append(1000 * (time.perf_counter() - began))
    return {"milliseconds": taken}


def memory():
    status = Path("/proc/self/status").read_text()
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return {"peak_mib": int(peak) / 1024}


def instructions():
    """What numpy uses beyond its baseline."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__[name]]


def main(name, directory, texts):
    began = time.perf_counter()
    is_side = name.endswith("-side")
    caller = PEERS[name.removesuffix("-side")](Path(directory), 1 if is_side else THREADS)
    callers = [caller() for _ in range(THREADS if is_side else 1)]
    texts = json.loads(Path(texts).read_text())
    for embed in callers:
        embed(texts["128"][:1])
    print(json.dumps({"loaded_s": time.perf_counter() - began, "numpy": instructions()}), flush=True)
    for line in sys.stdin:
        match json.loads(line):
            case {"rate": kind, "batch": batch, "seconds": seconds}:
                answer = rate(callers, texts[kind], batch, seconds)
            case {"latency": kind, "seconds": seconds}:
                answer = latency(callers[0], texts[kind], seconds)
            case {"memory": _}:
                answer = memory()
            case other:
                raise SystemExit(f"not a wish: {other}")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
