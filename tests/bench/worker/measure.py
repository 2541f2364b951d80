"""Measures our worker beside its peers, and reports: run --help."""

import argparse
import json
import sys
from pathlib import Path

import accuracy
import contest
import held
import report
from ours import Programs, Worker, publish
from sizes import SIZES


def arguments():
    parser = argparse.ArgumentParser(prog="run", description="Measures the worker beside its peers, with the same texts, on this machine.")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all of it works; writes worker-quick.json")
    parser.add_argument("--models", default=",".join(SIZES), help="some of them, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one contender's turn")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="only a mixed load for so long, and SIGTERM in the middle of it")
    parser.add_argument("--soak-model", default="distil", choices=SIZES)
    parser.add_argument("--accuracy", action="store_true", help="only the accuracy of int8 on the trained model")
    parser.add_argument("--report", action="store_true", help="only what was measured before with this worker, all models together")
    parser.add_argument("--avx2", action="store_true", help="hold all to AVX2, as older CPUs, with bars for that; writes worker-avx2.json")
    for name in ("work", "output", "worker", "hub", "bench", "library"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)
    wishes = parser.parse_args()
    wishes.models = wishes.models.split(",")
    if unknown := set(wishes.models) - set(SIZES):
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(SIZES)}")
    if wishes.quick:
        wishes.rounds, wishes.seconds = 1, 0.5
    return wishes


def soak(wishes, programs, models):
    published = publish(programs, models / wishes.soak_model)
    precision = programs.precisions()[-1]
    with Worker(programs, published, precision, drain_s=2) as worker:
        return {"model": wishes.soak_model, "precision": precision, "seconds": wishes.soak} | worker.soak(wishes.soak)


def measure(wishes, programs, keep):
    models = wishes.work / "models"
    if wishes.soak:
        keep("soak", soak(wishes, programs, models))
    elif wishes.accuracy:
        keep("accuracy", accuracy.measure(models / "tiny", programs))
    else:
        for model in wishes.models:
            trying = min(1.0, wishes.seconds)
            keep(model, contest.measure(model, models / model, programs, wishes.rounds, wishes.seconds, trying))
        # The trained one.
        if "tiny" in wishes.models:
            keep("accuracy", accuracy.measure(models / "tiny", programs))


def main():
    wishes = arguments()
    programs = Programs(wishes.worker, wishes.worker, wishes.hub, wishes.bench, wishes.library, wishes.work / "texts.json")
    kind, ratios, digest = "-quick" if wishes.quick else "", report.TIMES, programs.digest()
    if wishes.avx2:
        programs = held.hold(programs, wishes.work)
        kind, ratios = f"-avx2{kind}", report.TIMES_AVX2
    results = wishes.work / f"results{kind}"
    wishes.output = wishes.output.with_stem(f"{wishes.output.stem}{kind}")
    results.mkdir(exist_ok=True)

    def keep(name, document):
        (results / f"{name}.json").write_text(json.dumps({"worker": digest, "document": document}))

    def kept(name):
        """Figures of another build must not stand beside those of this one."""
        path = results / f"{name}.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        if found.get("worker") == digest:
            return found["document"]
        contest.say(f"{name} is left out: measured with another build")
        return None

    if not wishes.report:
        measure(wishes, programs, keep)
    measured = [document for model in SIZES if (document := kept(model))]
    found = {"results": measured, "accuracy": kept("accuracy"), "soak": kept("soak")}
    judged = report.bars(**found, ratios=ratios)
    for result in measured:
        print(report.table(result))
    if found["accuracy"]:
        print(report.accuracy_table(found["accuracy"]))
    if found["soak"]:
        print(report.soak_table(found["soak"]))
    print("\n".join(bar.line() for bar in judged))
    wishes.output.write_text(report.flat(**found, judged=judged) + "\n")
    missed = [bar for bar in judged if not bar.is_met]
    print(f"{len(judged) - len(missed)} of {len(judged)} bars are met; written to {wishes.output}")
    sys.exit(1 if missed or not judged else 0)


if __name__ == "__main__":
    main()
