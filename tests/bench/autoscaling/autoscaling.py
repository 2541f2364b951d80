"""The laws of scaling on recorded traces, beside other autoscalers: one table, the bars, and a flat JSON file.

The simulator and its traces are not part of this repository; `run` says where they are.
"""

import argparse
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass

import report
import simulate

QUICK = [("code", 1, start) for start in simulate.STARTS] + [("conv", 1, "5..40")]


@dataclass(frozen=True)
class Settings:
    simulator: str
    traces: str
    operator: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-autoscaling BENCH_ARGS=...", description=__doc__)
    parser.add_argument("--simulator", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--traces", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--operator", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--output", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one seed, without the long trace: a minute")
    parser.add_argument("--trace", action="append", choices=list(simulate.TRACES), help="only this one; repeat for several")
    parser.add_argument("--start", action="append", choices=list(simulate.STARTS), help="only these start-up times, in seconds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="simulations at a time")
    arguments = parser.parse_args()
    settings = Settings(arguments.simulator, arguments.traces, arguments.operator)

    jobs = [
        (trace, seed, start)
        for trace in arguments.trace or simulate.TRACES
        for start in arguments.start or simulate.STARTS
        for seed in range(1, arguments.seeds + 1)
    ]
    if arguments.quick:
        jobs = QUICK
    # The long ones first, so that none is left alone at the end.
    jobs.sort(key=lambda job: job[0] != "twitter")
    rows = []
    with multiprocessing.Pool(arguments.jobs) as pool:
        for done, new in enumerate(pool.imap_unordered(simulate.Job(settings), jobs), 1):
            rows += new
            print(f"\r{done} of {len(jobs)} simulations", end="", file=sys.stderr, flush=True)
    print("\n", file=sys.stderr)
    costs = simulate.microseconds(settings)
    bars = report.bars(rows, costs)
    print(report.table(rows, costs))
    print(report.lines(bars))
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(report.flat(rows, costs, bars), file, indent=2)
        file.write("\n")
    sys.exit(0 if all(bar.passed for bar in bars) else 1)


if __name__ == "__main__":
    main()
