"""What was measured, as tables, as bars that are met or not, and flat."""

import json
import math
from dataclasses import dataclass

from sizes import SIZES

INT8, FP32 = "lexiscale-int8", "lexiscale-fp32"
OURS = (INT8, FP32)
LOGITS, POOLED = "onnxruntime-fp32-logits", "onnxruntime-fp32-pooled"
# Documents a second of Text Embeddings Inference 1.9.3 with one client and one text, and of ONNX Runtime fp32 beside it, at 128
# pieces on two cores of one machine, where TEI had been built with the MKL of its image. For BERT-base only the pooled graph had
# been measured there. TEI's figure here is what it was there in terms of that baseline, which is measured in the same run.
TEI = {"tiny": (28.0, LOGITS, 81.1), "distil": (11.7, LOGITS, 18.6), "bertbase": (7.3, POOLED, 13.1)}
# What our fp32 is compared with.
FP32_PEERS = ("onnxruntime-fp32-logits", "onnxruntime-fp32-pooled", "fastembed")
# How many times a peer's documents a second ours must be at least.
TIMES = {
    "tei": {"tiny": 4.0, "distil": 4.0, "bertbase": 4.0},
    "fastembed": {"tiny": 7.0, "distil": 3.0, "bertbase": 2.5, "granite30m": 2.5},
    "onnxruntime-int8": {"tiny": 1.5, "distil": 1.0, "bertbase": 1.0, "granite30m": 1.15},
    "openvino-int8": {"tiny": 1.0, "distil": 0.95, "bertbase": 0.95, "granite30m": 1.0},
}
# The same where all are held to AVX2: without products of bytes int8 is ahead of the others by less. All other bars stay as they are.
TIMES_AVX2 = {peer: dict.fromkeys(SIZES, 1.0) for peer in ("onnxruntime-int8", "openvino-int8")}
START_S = {"tiny": 0.15, "distil": 0.5}
PEAK_MIB = {"distil": 350.0}
OTHER_WORK_PERCENT = {"distil": 5.0}
# What the 99th percentile of a lone query may be of its median.
TAIL = 3.0
ACCURACY = {"mean_cosine": 0.999, "top_100_kept": 0.975}
RESIDENT_SPREAD_PERCENT = 3.0


def percentile(values, share):
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))] if ordered else math.nan


def median(values):
    return percentile(values, 0.5)


@dataclass(frozen=True)
class Bar:
    key: str
    text: str
    value: float
    limit: float
    is_least: bool

    @property
    def is_met(self):
        return self.value >= self.limit if self.is_least else self.value <= self.limit

    def line(self):
        sign = ">=" if self.is_least else "<="
        beyond = 100 * (self.value / self.limit - 1) if self.limit else 0
        return f"{'met   ' if self.is_met else 'MISSED'}  {self.text:<74}{self.value:>10.3f} {sign} {self.limit:<8g} {beyond:+.0f} %"


def at_least(key, text, value, limit):
    return Bar(key, text, value, limit, is_least=True)


def at_most(key, text, value, limit):
    return Bar(key, text, value, limit, is_least=False)


def ours(result):
    """Which of ours is judged: int8 wherever the worker offers it. fp32 must not pass in its place."""
    return next(name for name in OURS if name in result["rates"] or name in result["missing"])


def times(over, under):
    """Round by round: rounds differ more than contenders do."""
    return [one / other for one, other in zip(over, under)]


def tei(result):
    """What it would have answered in each round."""
    rate, baseline, beside = TEI[result["model"]]
    return [rate * now / beside for now in result["rates"][baseline]]


def peers(result):
    """Documents a second by peer, round by round."""
    found = {name: rates for name, rates in result["rates"].items() if name not in OURS}
    return found | ({"tei": tei(result)} if result["model"] in TEI else {})


def of_model(result, ratios):
    model, best = result["model"], ours(result)
    rates, queries = result["rates"], result["queries"]
    for name in result["missing"]:
        yield at_least(f"{model}_{name}_measured", f"{model}: {name} measured", 0, 1)
    if FP32 in rates:
        fastest = max((name for name in FP32_PEERS if name in rates), key=lambda name: median(rates[name]))
        text = f"{model}: documents a second, {FP32} of {fastest}"
        yield at_least(f"{model}_{FP32}_of_best_fp32_peer_ratio", text, median(times(rates[FP32], rates[fastest])), 1.0)
    if best not in rates:
        return
    for peer, found in peers(result).items():
        if limit := ratios.get(peer, {}).get(model):
            text = f"{model}: documents a second, {best} of {peer}"
            yield at_least(f"{model}_{best}_of_{peer}_ratio", text, median(times(rates[best], found)), limit)
    if model == "distil":
        waits = {name: [percentile(round_, 0.5) for round_ in rounds] for name, rounds in queries.items() if name not in OURS}
        quickest = min(waits, key=lambda name: median(waits[name]))
        mine = [percentile(round_, 0.5) for round_ in queries[best]]
        text = f"{model}: median of a lone query, {best} of {quickest}"
        yield at_most(f"{model}_query_p50_of_best_peer_ratio", text, median(times(mine, waits[quickest])), 1.0)
        tails = [percentile(round_, 0.99) / percentile(round_, 0.5) for round_ in queries[best]]
        yield at_most(f"{model}_query_p99_of_p50_ratio", f"{model}: 99th percentile of a lone query, of its median", median(tails), TAIL)
    if limit := OTHER_WORK_PERCENT.get(model):
        text = f"{model}: {best}'s processor time for HTTP, JSON and tokenising, in %"
        yield at_most(f"{model}_{best}_other_work_percent", text, median(result["other_work_percent"][best]), limit)
    if limit := PEAK_MIB.get(model):
        text = f"{model}: peak of {best} with 32 texts in flight, in MiB"
        yield at_most(f"{model}_{best}_peak_mib", text, result["peak_mib"][best], limit)
    if limit := START_S.get(model):
        yield at_most(f"{model}_{best}_start_s", f"{model}: {best} from its start to ready, in s", median(result["start_s"][best]), limit)


def of_accuracy(found):
    for precision, different in found["different"].items():
        text = f"{precision}: of {found['compared']} vectors in lists, not bit for bit the text's own"
        yield at_most(f"{precision}_different_vectors_count", text, different, 0)
    row = found["table"].get("lexiscale int8 against lexiscale fp32")
    for key, limit in ACCURACY.items() if row else ():
        yield at_least(f"int8_{key}_share", f"int8 against fp32: {key.replace('_', ' ')}", row[key], limit)


def of_soak(soak):
    for key, limit in {"errors_count": 0, "wrong_answers_count": 0, "lost_after_sigterm_count": 0, "exit_code": 0}.items():
        # A signal that ended it is a negative code.
        yield at_most(f"soak_{key}", f"soak: {key.replace('_', ' ')}", abs(soak[key]), limit)
    text = "soak: answers that are bit for bit the text's own, in %"
    yield at_least("soak_identical_answers_percent", text, soak["identical_answers_percent"], 100)
    text = "soak: resident memory from lowest to highest, in %"
    yield at_most("soak_resident_spread_percent", text, soak["resident_spread_percent"], RESIDENT_SPREAD_PERCENT)


def bars(results, accuracy, soak, ratios):
    """`ratios` is one of TIMES and TIMES_AVX2."""
    found = [bar for result in results for bar in of_model(result, ratios)]
    return [*found, *(of_accuracy(accuracy) if accuracy else ()), *(of_soak(soak) if soak else ())]


def low_middle_high(values, digits=1):
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))


def table(result):
    best, tries = ours(result), result["rates"]
    lines = [f"{result['model']}, passages of about 128 pieces, {len(next(iter(tries.values())))} rounds in turns, {result['began']}", ""]
    heads = ("docs/s min / median / max", f"{best} is times", "query ms p50", "p99", "peak MiB", "best way")
    lines.append(f"{'':<26}{heads[0]:<28}{heads[1]:<26}{heads[2]:>13}{heads[3]:>9}{heads[4]:>10}  {heads[5]}")
    everybody = peers(result) | {name: rates for name, rates in tries.items() if name in OURS}
    for name, rates in sorted(everybody.items(), key=lambda one: -median(one[1])):
        rounds = result["queries"].get(name, [])
        waits = [f"{median([percentile(round_, share) for round_ in rounds]):.2f}" if rounds else "" for share in (0.5, 0.99)]
        peak = f"{result['peak_mib'][name]:.0f}" if name in result["peak_mib"] else ""
        way, shape, _ = result["ways"].get(name, ("by its share of the baseline", "", ""))
        ratio = low_middle_high(times(tries[best], rates), 2) if best in tries else ""
        lines.append(f"{name:<26}{low_middle_high(rates):<28}{ratio:<26}{waits[0]:>13}{waits[1]:>9}{peak:>10}  {way} {shape}")
    for name, seconds in result["start_s"].items():
        lines.append(f"{name}: from start to ready in {low_middle_high(seconds, 3)} s")
    for name, percent in result["other_work_percent"].items():
        lines.append(f"{name}: HTTP, JSON and tokenising take {low_middle_high(percent)} % of its processor time")
    lines += [f"{name}: not measured: {why}" for name, why in result["missing"].items()]
    return "\n".join([*lines, ""])


def accuracy_table(found):
    heads = ("mean / worst cosine", "top 10 kept", "top 100 kept", "ranking's top 10", "identical")
    lines = [f"{'accuracy on tiny':<46}{heads[0]:<22}" + "".join(f"{head:>18}" for head in heads[1:])]
    for name, row in found["table"].items():
        shares = "".join(f"{100 * row[key]:>16.1f} %" for key in ("top_10_kept", "top_100_kept", "ranking_top_10"))
        cosine = f"{row['mean_cosine']:.5f} / {row['worst_cosine']:.5f}"
        lines.append(f"{name:<46}{cosine:<22}{shares}{row['identical_rows']:>18}")
    return "\n".join([*lines, ""])


def soak_table(soak):
    return "\n".join(["soak", *(f"  {key:<36}{value}" for key, value in soak.items()), ""])


def flat(results, accuracy, soak, judged):
    found = {}

    def add(key, values):
        values = list(values)
        found.update({f"min_{key}": min(values), f"median_{key}": median(values), f"max_{key}": max(values)})

    for result in results:
        model, best = result["model"], ours(result)
        for name, rates in (result["rates"] | peers(result)).items():
            add(f"{model}_{name}_docs_per_s", rates)
            if name != best and best in result["rates"]:
                add(f"{model}_{best}_of_{name}_ratio", times(result["rates"][best], rates))
        for name, rounds in result["queries"].items():
            for share in (50, 99):
                add(f"{model}_{name}_query_p{share}_ms", (percentile(round_, share / 100) for round_ in rounds))
        for name, seconds in result["start_s"].items():
            add(f"{model}_{name}_start_s", seconds)
        for name, percent in result["other_work_percent"].items():
            add(f"{model}_{name}_other_work_percent", percent)
        found.update({f"{model}_{name}_peak_mib": peak for name, peak in result["peak_mib"].items()})
    for name, row in accuracy["table"].items() if accuracy else ():
        found.update({f"accuracy_{name.replace(' ', '_')}_{key}": value for key, value in row.items()})
    found.update({f"soak_{key}": value for key, value in (soak or {}).items()})
    found.update({f"passed_{bar.key}": bar.is_met for bar in judged})
    return json.dumps({key.replace("-", "_"): value for key, value in found.items()}, indent=1)
