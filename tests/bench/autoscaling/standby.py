"""What the law makes of standby allocations: the simulator with some that are lent when all others are busy."""

import math

import numpy
import simulate

COUNTS = (0, 2, 4, 8)
TRACES = ("code", "conv")


def simulation(simulator):
    """The simulator's own model with standbys in it, which cost nothing there: what they cost is memory."""

    class Simulation(simulator.Sim):
        standbys = []

        def advance(self, end):
            while self.heap and self.nxt < self.n and (arrival := self.a[self.nxt]) < end:
                free, name = self.heap[0]
                place = min(range(len(self.standbys)), key=self.standbys.__getitem__, default=None)
                if free <= arrival or place is None or self.standbys[place] >= free:
                    place = None
                begin = max(arrival, free if place is None else self.standbys[place])
                if begin >= end or begin - arrival > self.c.hold:
                    break
                service = self.s[self.nxt]
                if place is None:
                    simulator.heapq.heapreplace(self.heap, (begin + service, name))
                else:
                    self.standbys[place] = begin + service
                self.lat[self.nxt] = begin + service - arrival + self.c.overhead
                self.nxt += 1
                self.n_start += 1
                self.sum_fin += begin + service
                self.sum_svc += service
                self.sum_wait += begin - arrival
                self.sum_lat += begin + service - arrival
            # What has expired, and who wakes an endpoint at zero.
            return super().advance(end)

        def snapshot(self, now):
            counts = super().snapshot(now)
            left = [end - now for end in self.standbys if end > now]
            counts["infl"] += len(left)
            counts["completed"] -= len(left)
            counts["busy"] -= sum(left)
            counts["N"] -= sum(left)
            return counts

    return Simulation


class Told:
    """A policy that hears of the standbys, or does not."""

    def __init__(self, policy, standbys):
        self.policy, self.interval, self.standbys = policy, policy.interval, standbys

    def decide(self, observation):
        return self.policy.decide(observation | {"standby": self.standbys})

    def close(self, end):
        self.policy.close(end)


def run(settings, starts, seeds):
    simulator = simulate.load(settings.simulator)
    lines = ["late requests in %, mean of the seeds @ mean cost of the oracle's without the standbys'"]
    for start in starts:
        for trace in TRACES:
            for count in COUNTS:
                figures = {True: [], False: []}
                for seed in range(1, seeds + 1):
                    path, scale = simulate.TRACES[trace]
                    arrivals, duration = simulator.load_trace(f"{settings.traces}/{path}", scale, seed)
                    config = simulate.configuration(seed, start)
                    service = simulator.service_times(len(arrivals), config.service, config.cv, seed)
                    oracle = simulator.oracle(arrivals, service, duration, config)
                    first = max(1, math.ceil(numpy.searchsorted(arrivals, 60.0) / 60.0 * config.service / 0.7))
                    for told in figures:
                        world = simulation(simulator)(arrivals, service, duration, config)
                        world.standbys = [0.0] * count
                        policy = simulator.Exec(simulate.command(settings, "slo"), config)
                        result = world.run(Told(policy, count if told else 0), first)
                        figures[told].append((100 * float(result["viol"]), result["cost"] / oracle["cost"]))
                told, not_told = ("{:.2f} @ {:.2f}".format(*numpy.mean(figures[told], axis=0)) for told in (True, False))
                lines.append(f"starts of {start:<9} {trace:<6}{count} standbys: {told:<16} not told of them: {not_told}")
    return "\n".join(lines)
