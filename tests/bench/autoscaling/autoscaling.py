"""The laws of scaling on recorded traces, beside other autoscalers: one table, the bars, and a flat JSON file.

The simulator and its traces are not part of this repository; `run` says where they are.
"""

import argparse
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass

import made
import report
import simulate
import standby

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
    parser.add_argument("--made", action="store_true", help="shapes that nobody has recorded, in place of the recorded traces")
    parser.add_argument("--shape", action="append", choices=list(made.SHAPES), help="with --made: only this one; repeat for several")
    parser.add_argument("--standby", action="store_true", help="only what standby allocations change, on two traces")
    parser.add_argument("--quick", action="store_true", help="one seed, without the long trace: a minute")
    parser.add_argument("--trace", action="append", choices=list(simulate.TRACES), help="only this one; repeat for several")
    parser.add_argument("--start", action="append", choices=list(simulate.STARTS), help="only these start-up times, in seconds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="simulations at a time")
    arguments = parser.parse_args()
    settings = Settings(arguments.simulator, arguments.traces, arguments.operator)
    if arguments.standby:
        print(standby.run(settings, arguments.start or ["5..40", "1..2"], arguments.seeds))
        return
    traces = (arguments.shape or made.SHAPES) if arguments.made else (arguments.trace or simulate.TRACES)
    starts = arguments.start or (["5..40"] if arguments.made else simulate.STARTS)

    jobs = [
        (trace, seed, start)
        for trace in traces
        for start in starts
        for seed in range(1, arguments.seeds + 1)
    ]
    if arguments.quick:
        jobs = QUICK
    # The long ones first, so that none is left alone at the end.
    jobs.sort(key=lambda job: job[0] not in ("twitter", "week"))
    rows = []
    with multiprocessing.Pool(arguments.jobs) as pool:
        for done, new in enumerate(pool.imap_unordered(simulate.Job(settings), jobs), 1):
            rows += new
            print(f"\r{done} of {len(jobs)} simulations", end="", file=sys.stderr, flush=True)
    print("\n", file=sys.stderr)
    if arguments.made:
        print(report.made(rows, traces))
        write(arguments.output.replace(".json", "-made.json"), report.flat(rows, {}, [], traces))
        return
    costs = simulate.microseconds(settings)
    bars = report.bars(rows, costs)
    print(report.table(rows, costs))
    print(report.lines(bars))
    write(arguments.output, report.flat(rows, costs, bars))
    sys.exit(0 if all(bar.passed for bar in bars) else 1)


def write(path, figures):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(figures, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
