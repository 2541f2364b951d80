"""Shapes of load that nobody has recorded, by their formulas: what the recorded traces do not show. PURE but for chance, which is given."""

import math

import numpy

MINUTE, HOUR = 60, 3600
TURN = 2 * math.pi


def seconds(hours):
    return numpy.arange(int(hours * HOUR), dtype=float)


def wave(times, period):
    return numpy.sin(TURN * times / period)


def turns(random, hours, on, off):
    """High and low rates in turns; each lasts by chance, `on` and `off` are (rate, mean seconds)."""
    rates, is_on = [], False
    while len(rates) < hours * HOUR:
        rate, mean = on if is_on else off
        rates += [rate] * max(1, round(random.exponential(mean)))
        is_on = not is_on
    return numpy.array(rates[: int(hours * HOUR)], dtype=float)


def wandering(random, count, memory, spread):
    """A walk that is drawn back to 0 over `memory` seconds."""
    steps = spread * math.sqrt(2 / memory) * random.standard_normal(count)
    left, value, values = 1 - 1 / memory, 0.0, numpy.empty(count)
    for index, step in enumerate(steps):
        value = value * left + step
        values[index] = value
    return values


def steady(_):
    return numpy.full(2 * HOUR, 40.0)


def sine(_):
    return 40 + 35 * wave(seconds(6), 2 * HOUR)


def ramp(_):
    return numpy.linspace(5, 125, 3 * HOUR)


def flash_crowd(_):
    times = seconds(2)
    return numpy.where((times >= HOUR) & (times < HOUR + 10 * MINUTE), 150.0, 15.0)


def news(_):
    """Found within two minutes, of interest for twenty, and forgotten slowly."""
    since = seconds(3) - HOUR
    rise = numpy.clip(since / (2 * MINUTE), 0, 1)
    fall = numpy.exp(-numpy.maximum(since - 22 * MINUTE, 0) / (15 * MINUTE))
    return 15 + 135 * rise * fall


def steps(random):
    """Another level each quarter of an hour."""
    return numpy.repeat(5 + 95 * random.random(8 * 4), 15 * MINUTE)


def on_off(random):
    return turns(random, 6, on=(80, 120), off=(3, 300))


def slow_on_off(random):
    return turns(random, 12, on=(100, 1200), off=(10, 2400))


def pulses(_):
    times = seconds(4)
    return numpy.where((times % 600 < 20) & (times >= 300), 90.0, 5.0)


def heavy_tail(random):
    """Bursts of 1 to 3 s about once a minute, whose height has no variance."""
    rates = numpy.full(4 * HOUR, 2.0)
    for begin in numpy.flatnonzero(random.random(len(rates)) < 1 / MINUTE):
        height = min(250.0, 10 * (1 - random.random()) ** (-1 / 1.5))
        rates[begin : begin + random.integers(1, 4)] += height
    return rates


def wander(random):
    return 25 * numpy.exp(wandering(random, 6 * HOUR, 300, 0.8) - 0.32)


def week(random):
    """Two working days and two of a weekend."""
    times = seconds(4 * 24)
    day = 1 - 0.85 * numpy.cos(TURN * times / (24 * HOUR))
    weekend = numpy.where(times >= 2 * 24 * HOUR, 0.45, 1.0)
    return 9 * day * weekend * numpy.exp(wandering(random, len(times), 1800, 0.15))


def cron(_):
    """A day with a batch at each full hour."""
    times = seconds(24)
    return 8 - 5 * numpy.cos(TURN * times / (24 * HOUR)) + numpy.where(times % HOUR < MINUTE, 90.0, 0.0)


def microservice(random):
    """A day whose minutes differ by a quarter, with spikes of two to three times for some minutes."""
    times = seconds(24)
    minutes = 24 * 60
    noise, level = numpy.empty(minutes), 0.0
    spike = numpy.ones(minutes)
    for minute in range(minutes):
        level = 0.5 * level + 0.25 * random.standard_normal()
        noise[minute] = math.exp(level)
        if random.random() < 1 / 90:
            spike[minute : minute + random.integers(1, 6)] = 2 + random.random()
    return (18 - 10 * numpy.cos(TURN * times / (24 * HOUR))) * numpy.repeat(noise * spike, MINUTE)


def trickle(random):
    """Hardly anything, and now and then a few requests a second for a minute."""
    return turns(random, 24, on=(5, 60), off=(0.02, 900))


SHAPES = {
    shape.__name__: shape
    for shape in (
        steady, sine, ramp, flash_crowd, news, steps, on_off, slow_on_off, pulses, heavy_tail, wander, week, cron, microservice, trickle,
    )
}  # fmt: skip


def arrivals(name, seed):
    """Times of the requests, and how long the trace is."""
    random = numpy.random.default_rng([seed, *name.encode()])
    counts = random.poisson(SHAPES[name](random))
    times = numpy.repeat(numpy.arange(len(counts)), counts) + random.random(int(counts.sum()))
    times.sort()
    return times, float(len(counts))
