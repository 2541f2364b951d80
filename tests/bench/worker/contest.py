"""All contenders with one model: each tried in every way that it can run, then all in their best way, in turns."""

import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import held
from ours import SHAPES, Worker, publish

HERE = Path(__file__).parent
# What one contender can be: the best of its ways counts. `-side` is two runs of one thread side by side.
WAYS = {
    "onnxruntime-fp32-logits": ("onnxruntime-fp32-logits",),
    "onnxruntime-fp32-pooled": ("onnxruntime-fp32-pooled", "onnxruntime-fp32-pooled-side"),
    "fastembed": ("fastembed",),
    "onnxruntime-int8": tuple(f"onnxruntime-int8-pooled{way}" for way in ("", "-side", "16", "16-side")),
    "openvino-int8": ("openvino-int8", "openvino-int8-side"),
}
BATCHES = (1, 8, 32)
LENGTH = "128"
QUERY = "query"
STARTS = 7
IN_FLIGHT = 32


class Peer:
    """A process of peer.py, from `with` to its end."""

    def __init__(self, name, directory, programs):
        self.command = [sys.executable, HERE / "peer.py", name, directory, programs.texts]
        self.is_held = programs.is_held

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        loaded = self.read()
        self.loaded_s = loaded["loaded_s"]
        if self.is_held and loaded["numpy"] != held.NUMPY:
            raise SystemExit(f"{self.command[2]} is not held to AVX2: its numpy uses {loaded['numpy']}, not {held.NUMPY}")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command[2]} ended with code {self.process.wait(60)}")
        return json.loads(line)

    def ask(self, **wish):
        print(json.dumps(wish), file=self.process.stdin, flush=True)
        return self.read()

    def rate(self, kind, shape, seconds):
        return self.ask(rate=kind, batch=shape, seconds=seconds)["docs_per_s"]

    def latency(self, kind, seconds):
        return self.ask(latency=kind, seconds=seconds)["milliseconds"]

    def peak_mib(self):
        return self.ask(memory=True)["peak_mib"]


def say(*words):
    print(*words, file=sys.stderr, flush=True)


class Chosen:
    """A contender's best way for many documents, and its best for a lone query."""

    def __init__(self, name, ways, shapes, seconds):
        tries = {}
        for way, contender in ways.items():
            for shape in shapes:
                tries[way, shape] = contender.rate(LENGTH, shape, seconds)
        (self.way, self.shape), best = max(tries.items(), key=lambda one: one[1])
        waits = {way: statistics.median(contender.latency(QUERY, seconds)) for way, contender in ways.items()}
        self.lone_way = min(waits, key=waits.get)
        self.many, self.lone = ways[self.way], ways[self.lone_way]
        say(f"  {name}: {best:.1f} docs/s by {self.way} {self.shape}; query {waits[self.lone_way]:.2f} ms by {self.lone_way}")
        self.tries = {f"{way} {shape}": rate for (way, shape), rate in tries.items()}


def measure(model, directory, programs, rounds, seconds, trying):
    """Everything about one model, as a document to report from."""
    say(f"{model}: publishing")
    published = publish(programs, directory)
    result = {"model": model, "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rates": {}, "queries": {}, "ways": {},
              "tries": {}, "peak_mib": {}, "start_s": {}, "missing": {}, "other_work_percent": {}}  # fmt: skip
    precisions = starts(programs, published, result)
    with ExitStack() as stack:
        chosen = {}
        for name, ways in WAYS.items():
            running = {way: stack.enter_context(Peer(way, directory, programs)) for way in ways}
            chosen[name] = Chosen(name, running, BATCHES, trying)
            result["peak_mib"][name] = chosen[name].many.peak_mib()
        for precision in precisions:
            worker = stack.enter_context(Worker(programs, published, precision))
            chosen[f"lexiscale-{precision}"] = Chosen(f"lexiscale-{precision}", {precision: worker}, SHAPES, trying)
        for name, contender in chosen.items():
            result["rates"][name], result["queries"][name] = [], []
            result["ways"][name], result["tries"][name] = [contender.way, contender.shape, contender.lone_way], contender.tries
        for number in range(rounds):
            for name, contender in chosen.items():
                result["rates"][name].append(contender.many.rate(LENGTH, contender.shape, seconds))
            for name, contender in chosen.items():
                result["queries"][name].append(contender.lone.latency(QUERY, seconds / 2))
            say(f"  round {number + 1}:", *(f"{name} {rates[-1]:.1f}" for name, rates in result["rates"].items()))
        for name in (f"lexiscale-{precision}" for precision in precisions):
            worker, shape = chosen[name].many, chosen[name].shape
            result["other_work_percent"][name] = [worker.other_work_percent(LENGTH, shape, seconds) for _ in range(rounds)]
    return result


def starts(programs, published, result):
    """From the start of the process to ready, and its peak with many texts in flight; the precisions that it can serve with."""
    able = []
    for precision in programs.precisions():
        name = f"lexiscale-{precision}"
        try:
            times = []
            for _ in range(STARTS):
                with Worker(programs, published, precision) as worker:
                    times.append(worker.ready_s)
            with Worker(programs, published, precision) as worker:
                worker.rate(LENGTH, (IN_FLIGHT, 1), 2)
                worker.rate(LENGTH, (1, IN_FLIGHT), 2)
                result["peak_mib"][name] = worker.peak_mib()
            result["start_s"][name] = times
            able.append(precision)
            say(f"  {name}: ready in {statistics.median(times):.3f} s; peak {result['peak_mib'][name]:.0f} MiB")
        except RuntimeError as error:
            result["missing"][name] = str(error)
            say(f"  {name}: {error}")
    return able
