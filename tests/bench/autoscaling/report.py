"""What was measured, as a table, as bars that are passed or not, and flat."""

import math
from dataclasses import dataclass

from simulate import OURS, PEERS, STARTS, TRACES

ES, SLO = OURS
# Share of late requests at most, by range of start-up times and trace.
LATE = {("5..40", "conv"): 0.01, ("5..40", "twitter"): 0.01, ("5..40", "code"): 0.10, ("1..2", "code"): 0.06, ("0.1..0.3", "code"): 0.02}
COST = 1.75
FLIPS = 5.0
MICROSECONDS = 50.0


@dataclass(frozen=True)
class Bar:
    key: str
    text: str
    value: float
    most: float

    @property
    def passed(self) -> bool:
        return self.value <= self.most


def of(rows, policy, start, trace):
    return [row for row in rows if (row["policy"], row["start"], row["trace"]) == (policy, start, trace)]


def mean(rows, key):
    return sum(row[key] for row in rows) / len(rows)


def worst(rows, key):
    return max(row[key] for row in rows)


def geometric_cost(rows, policy, start, traces=TRACES):
    costs = [mean(found, "cost") for trace in traces if (found := of(rows, policy, start, trace))]
    return math.exp(sum(map(math.log, costs)) / len(costs)) if costs else math.nan


def cell(rows):
    """Late share of each seed, and the mean cost."""
    if not rows:
        return "-"
    late = " ".join(f"{100 * row['late']:.2f}" for row in sorted(rows, key=lambda row: row["seed"]))
    return f"{late} @ {mean(rows, 'cost'):.2f}, {mean(rows, 'flips'):.1f}"


def table(rows, costs):
    lines = ["late requests in % of each seed @ mean cost of the oracle's, flips of 1000 decisions"]
    width = 38
    for start in STARTS:
        if not any(row["start"] == start for row in rows):
            continue
        heads = "".join(f"{trace:<{width}}" for trace in TRACES)
        lines += ["", f"starts of {start} s", f"{'policy':<24}{heads}geometric mean of cost"]
        for policy in ["oracle", *PEERS, *OURS]:
            cells = "".join(f"{cell(of(rows, policy, start, trace)):<{width}}" for trace in TRACES)
            lines.append(f"{policy:<24}{cells}{geometric_cost(rows, policy, start):.2f}")
    lines += ["", *(f"{name}: {cost:.1f} us of CPU for a decision, its lines included" for name, cost in costs.items())]
    return "\n".join(lines)


def made(rows, traces):
    """A line for each shape: every policy, and who is neither later nor dearer than ours."""
    policies = [*PEERS, SLO]
    width = 21
    head = "".join(f"{policy:<{width}}" for policy in policies)
    lines = ["late requests in %, worst seed @ mean cost of the oracle's"]
    for start in STARTS:
        if not any(row["start"] == start for row in rows):
            continue
        lines += ["", f"starts of {start} s", f"{'shape':<16}{head}better than ours in both"]
        for trace in traces:
            found = {policy: of(rows, policy, start, trace) for policy in policies}
            figures = {policy: (100 * worst(each, "late"), mean(each, "cost")) for policy, each in found.items()}
            cells = "".join(f"{f'{late:.2f} @ {cost:.2f}':<{width}}" for late, cost in figures.values())
            late, cost = figures[SLO]
            better = [name for name, (theirs, price) in figures.items() if name != SLO and theirs <= late and price <= cost]
            lines.append(f"{trace:<16}{cells}{', '.join(better) or '-'}")
        lines.append(f"{'geometric mean':<16}" + "".join(f"{f'{geometric_cost(rows, policy, start, traces):.2f}':<{width}}" for policy in policies))
    return "\n".join(lines)


def bars(rows, costs):
    """Those of what was run; the worst seed counts."""
    found = []
    for (start, trace), most in LATE.items():
        ours = of(rows, SLO, start, trace)
        if not ours:
            continue
        text = f"{SLO}: late requests on {trace}, starts of {start} s, worst seed, in %"
        found.append(Bar(f"slo_late_{trace}_{name(start)}_percent", text, 100 * worst(ours, "late"), 100 * most))
        if start != "5..40":
            knative = mean(of(rows, "Knative", start, trace), "cost")
            text = f"{SLO}: cost on {trace}, starts of {start} s, beside Knative's"
            found.append(Bar(f"slo_cost_{trace}_{name(start)}_of_oracle", text, mean(ours, "cost"), knative))
    ordinary = [row for row in rows if (row["policy"], row["start"]) == (SLO, "5..40")]
    if len({row["trace"] for row in ordinary}) == len(TRACES):
        text = f"{SLO}: geometric mean of cost, starts of 5..40 s (aim 1.55)"
        found.append(Bar("slo_geometric_cost_of_oracle", text, geometric_cost(rows, SLO, "5..40"), COST))
    if ordinary:
        text = f"{SLO}: flips of 1000 decisions, worst trace and seed, starts of 5..40 s"
        found.append(Bar("slo_flips_of_1000_decisions", text, worst(ordinary, "flips"), FLIPS))
    same = ("late", "seconds", "flips")
    theirs = {(row["trace"], row["seed"], row["start"]): row for row in rows if row["policy"] == "Elasticsearch"}
    differences = sum(
        any(row[key] != theirs[row["trace"], row["seed"], row["start"]][key] for key in same) for row in rows if row["policy"] == ES
    )
    found.append(Bar("elasticsearch_differing_runs", f"{ES}: runs unlike Elasticsearch's", differences, 0))
    for policy, cost in costs.items():
        found.append(Bar(f"{OURS[policy]}_decision_us", f"{policy}: us of CPU for a decision", cost, MICROSECONDS))
    return found


def lines(bars):
    return "\n" + "\n".join(
        f"{'pass' if bar.passed else 'FAIL'}  {bar.text}: {bar.value:.2f}, at most {bar.most:.2f}" for bar in bars
    )


def name(text):
    """As it can stand in a key."""
    words = text.lower().replace("..", " to ").replace(".", "_").replace("(", "").replace(")", "").split()
    return "_".join(words)


def flat(rows, costs, bars, traces=TRACES):
    figures = {}
    for policy in ["oracle", *PEERS, *OURS]:
        for start in STARTS:
            for trace in traces:
                found = of(rows, policy, start, trace)
                if not found:
                    continue
                key = f"{name(policy)}_{trace}_starts_{name(start)}_s"
                figures[f"{key}_late_worst_percent"] = 100 * worst(found, "late")
                figures[f"{key}_late_mean_percent"] = 100 * mean(found, "late")
                figures[f"{key}_cost_of_oracle"] = mean(found, "cost")
                figures[f"{key}_flips_of_1000_decisions"] = mean(found, "flips")
    for policy, cost in costs.items():
        figures[f"{name(policy)}_cpu_per_decision_us"] = cost
    figures |= {f"passed_{bar.key.removesuffix('_percent')}": bar.passed for bar in bars}
    return figures
