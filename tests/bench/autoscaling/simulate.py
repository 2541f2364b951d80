"""One trace, one seed, one range of start-up times: every policy in the simulator."""

import importlib.util
import json
import math
import resource
import subprocess
import tempfile
import types

import made
import numpy

# File and scale, as in the simulator's own suite.
TRACES = {
    "code": ("traces/azure-llm-code-2023.csv", 4),
    "conv": ("traces/azure-llm-conv-2023.csv", 8),
    "twitter": ("traces/twitter-2021-2days.csv", 0.2),
}
# Seconds from creating an allocation until it serves: ordinary, fast, standby.
STARTS = {"5..40": (5.0, 40.0), "1..2": (1.0, 2.0), "0.1..0.3": (0.1, 0.3)}
PEERS = {"HPA": "hpa", "KEDA": "keda", "Knative": "knative", "Elasticsearch": "es:86400", "KubeAI": "kubeai"}
OURS = {"ours (elasticsearch)": "elasticsearch", "ours (slo)": "slo"}
ORACLE = "oracle"


def load(path):
    spec = importlib.util.spec_from_file_location("autoscale_sim", path)
    simulator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulator)
    return simulator


def command(settings, mode):
    return f"exec '{settings.operator}' decide --mode {mode}"


class Counted:
    """A policy that counts its decisions."""

    def __init__(self, policy):
        self.policy, self.interval, self.decisions = policy, policy.interval, 0

    def decide(self, observation):
        self.decisions += 1
        return self.policy.decide(observation)

    def close(self, end):
        self.policy.close(end)


class Job:
    """Callable, so that it can be sent to another process."""

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, job):
        trace, seed, start = job
        simulator = load(self.settings.simulator)
        if trace in TRACES:
            path, scale = TRACES[trace]
            arrivals, duration = simulator.load_trace(f"{self.settings.traces}/{path}", scale, seed)
        else:
            arrivals, duration = made.arrivals(trace, seed)
        config = configuration(seed, start)
        service = simulator.service_times(len(arrivals), config.service, config.cv, seed)
        oracle = simulator.oracle(arrivals, service, duration, config)
        # Enough for the first minute at 70 %.
        first = max(1, math.ceil(numpy.searchsorted(arrivals, 60.0) / 60.0 * config.service / 0.7))
        key = {"trace": trace, "seed": seed, "start": start}
        rows = [key | {"policy": ORACLE, "late": float(oracle["viol"]), "cost": 1.0, "flips": 0.0, "seconds": oracle["cost"]}]
        for name in [*PEERS, *OURS]:
            policy = Counted(
                simulator.make(PEERS[name], config, oracle)
                if name in PEERS
                else simulator.Exec(command(self.settings, OURS[name]), config)
            )
            result = simulator.Sim(arrivals, service, duration, config).run(policy, first)
            row = {
                "policy": name,
                "late": float(result["viol"]),
                "cost": result["cost"] / oracle["cost"],
                "flips": 1000.0 * result["flips"] / policy.decisions,
                "seconds": result["cost"],
            }
            rows.append(key | row)
        return rows


def configuration(seed, start):
    """The simulator's own defaults."""
    earliest, latest = STARTS[start]
    return types.SimpleNamespace(
        seed=seed, min=None, max=32, slo=0.5, hold=60.0, overhead=0.005, service=0.1, cv=0.6,
        start_min=earliest, start_max=latest,
    )  # fmt: skip


def microseconds(settings, observations=100_000):
    """CPU time of a decision, its line in and out included: an upper bound of what the law itself takes."""
    hello = {"type": "hello", "protocol": 1, "min": None, "max": 32, "slo_s": 0.5, "mean_service_hint_s": None, "seed": 1}
    random = numpy.random.default_rng(1)
    lines = [hello]
    for index in range(observations):
        rate = 20.0 + 15.0 * math.sin(index / 500.0)
        arrivals = int(random.poisson(2.0 * rate))
        lines.append({
            "type": "observe", "t": 2.0 * (index + 1), "dt": 2.0, "desired": 4, "ready": 4, "starting": 0,
            "arrivals": arrivals, "completed": arrivals, "dropped": 0, "queued": int(random.poisson(1.0)), "in_flight": 2,
            "avg_service_s": float(random.uniform(0.09, 0.11)), "avg_queue_wait_s": 0.02, "avg_latency_s": 0.12,
            "avg_concurrency": 2.0, "utilization": 0.5,
        })  # fmt: skip
    lines.append({"type": "end", "t": 2.0 * observations})
    result = {}
    with tempfile.TemporaryFile("w+") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        for name, mode in OURS.items():
            file.seek(0)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command(settings, mode), shell=True, check=True, stdin=file, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            result[name] = 1e6 * spent / observations
    return result
