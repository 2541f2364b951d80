"""Our worker, as a process of its own that is asked over HTTP on 127.0.0.1; and its models, published as the product does it."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy

import held

THREADS = 2
PATIENCE_S = 60
CHECKPOINT = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
# Texts of one request, and clients.
SHAPES = ((1, 2), (1, 8), (8, 4), (32, 2))


@dataclass(frozen=True)
class Programs:
    worker: Path
    # What serves: the worker, or the copy of it that is held back.
    server: Path
    hub: Path
    bench: Path
    library: Path
    texts: Path

    @property
    def is_held(self):
        return self.server != self.worker

    def precisions(self):
        """What `serve` can be told to compute with."""
        text = subprocess.run([self.worker, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        return ("fp32", "int8") if "--precision" in text else ("fp32",)

    def digest(self):
        return hashlib.sha256(self.worker.read_bytes()).hexdigest()[:12]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def until_ready(process, port, path):
    """Asks as often as it takes to see the moment; a worker that loads keeps the question until it is ready."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with code {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, path)[0] == 200:
                return
        time.sleep(0.001)
    raise RuntimeError(f"{process.args[0]} is not ready after {PATIENCE_S} s")


def publish(programs, directory):
    """Downloads and converts a checkpoint with `fetch`, from a hub on this machine. Only one model is published at a time: they
    are large."""
    checkpoint, output = directory / "checkpoint", directory.parent.parent / "published"
    checkpoint.mkdir(exist_ok=True)
    for name in CHECKPOINT:
        (checkpoint / name).unlink(missing_ok=True)
        os.link(directory / name, checkpoint / name)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    port, repository = free_port(), f"bench/{directory.name}"
    hub = subprocess.Popen([programs.hub, "--listen", f"127.0.0.1:{port}", "--repo", f"{repository}={checkpoint}"])
    try:
        until_ready(hub, port, f"/api/models/{repository}/revision/main")
        fetch = [programs.worker, "--log-filter", "warn", "fetch", "--source", f"hf://{repository}", "--output", output]
        fetch += ["--hub-endpoint", f"http://127.0.0.1:{port}", "--trusted-server", f"http://127.0.0.1:{port}", "--listen", "127.0.0.1:0", "--termination-log", output / "report"]
        fetch += ["--onnxruntime", programs.library]
        subprocess.run(fetch, check=True)
    finally:
        hub.terminate()
        hub.wait()
    return output / "model"


class Worker:
    """Serves from `with` to its end."""

    def __init__(self, programs, model, precision, drain_s=0):
        self.programs, self.port, self.connection = programs, free_port(), None
        # Held back, it has to say what it computes with.
        self.log = model.parent / "log"
        level = "warn,lexiscale_worker::backend::native=info" if programs.is_held else "warn"
        self.command = [programs.server, "--log-filter", level, "serve", "--model", model, "--threads", str(THREADS)]
        self.command += ["--listen", f"127.0.0.1:{self.port}", "--onnxruntime", programs.library]
        # It must not measure itself while another has its turn.
        self.command += ["--drain-delay", str(drain_s), "--termination-log", model.parent / "ended", "--measure-after", "0"]
        if len(programs.precisions()) > 1:
            self.command += ["--precision", precision]

    def __enter__(self):
        began = time.perf_counter()
        with self.log.open("w") if self.programs.is_held else contextlib.nullcontext() as log:
            self.process = subprocess.Popen(self.command, stdout=log)
        try:
            until_ready(self.process, self.port, "/health/ready")
            self.ready_s = time.perf_counter() - began
            if self.programs.is_held and held.WORKER not in self.log.read_text():
                raise SystemExit(f"the worker is not held to AVX2: there is no {held.WORKER} in {self.log}")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        if self.connection:
            self.connection.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)

    def load(self, kind, shape, seconds):
        texts, connections = shape
        command = [self.programs.bench, "worker", "load", "--address", f"127.0.0.1:{self.port}", "--texts", self.programs.texts]
        command += ["--kind", kind, "--list", str(texts), "--connections", str(connections), "--seconds", str(seconds)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def soak(self, seconds):
        command = [self.programs.bench, "worker", "soak", "--address", f"127.0.0.1:{self.port}", "--texts", self.programs.texts]
        command += ["--process", str(self.process.pid), "--seconds", str(seconds)]
        figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        return figures | {"exit_code": self.process.wait(PATIENCE_S)}

    def rate(self, kind, shape, seconds):
        return self.load(kind, shape, seconds)["docs_per_s"]

    def latency(self, kind, seconds):
        return self.load(kind, (1, 1), seconds)["milliseconds"]

    def processor_ns(self):
        """Time on a processor so far, by thread, each under its name and number."""
        times = {}
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            # One may end in between.
            with contextlib.suppress(OSError):
                name = (thread / "comm").read_text().strip()
                times[name, thread.name] = int((thread / "schedstat").read_text().split()[0])
        return times

    def other_work_percent(self, kind, shape, seconds):
        """What HTTP, JSON and tokenising take of the worker's time on the processors under full load. They have threads of their
        own; waiting for the load's processor time does not count, as it would if the model's runs were timed by the clock."""
        before = self.processor_ns()
        self.load(kind, shape, seconds)
        spent = {thread: now - before.get(thread, 0) for thread, now in self.processor_ns().items()}
        others = sum(time for (name, _), time in spent.items() if name == "http")
        return 100 * others / sum(spent.values())

    def peak_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(peak) / 1024

    def embed(self, texts):
        """Each text's indices and weights, asked as one list."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        self.connection.request("POST", "/embed_sparse", json.dumps({"inputs": texts}), {"content-type": "application/json"})
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body}")
        return body

    def vectors(self, texts, vocabulary):
        """One row for each text, each asked alone."""
        rows = numpy.zeros((len(texts), vocabulary), numpy.float32)
        for row, text in zip(rows, texts):
            for entry in self.embed([text])[0]:
                row[entry["index"]] = entry["value"]
        return rows
