//! `decide`: the law of scaling as a program, so that a simulator judges the code that runs. JSON lines of protocol version 1
//! on standard input and output; `t` of a line is the only clock.

mod protocol;

use std::{
    io::{BufRead, Read, Write},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use jiff::SignedDuration;
use lexiscale_core::{
    scaling::{Law, Memory, Policy, decide, slo},
    validated::AllocationBounds,
};

use self::protocol::{Hello, Message, Observed, Ready, Reply};

/// Settings of `decide`.
///
/// Reads a `hello`, then `observe` and `wake` lines until `end`, and answers each with one line.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// The law to decide by.
    #[arg(long, value_enum, default_value_t = Mode::Elasticsearch)]
    pub mode: Mode,

    /// Mode `slo`: how many of 100 requests are to keep the latency that `hello` names as `slo_s`.
    #[arg(long, default_value_t = 99.0, value_parser = percentile)]
    pub target_percentile: f64,

    /// Idle time after which an endpoint whose minimum is zero goes to zero.
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub scale_to_zero_time: Duration,

    /// Answer with the reason and its numbers also.
    #[arg(long)]
    pub explain: bool,
}

/// The laws by their names in the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Elasticsearch's adaptive allocations.
    Elasticsearch,
    /// As few allocations as keep the latency goal.
    Slo,
}

/// Longer than any line of the protocol.
const LONGEST_LINE: u64 = 64 * 1024;

/// Answers line by line until `end` or the end of the input.
pub fn run(settings: &Settings, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut lines = Lines { input, number: 0, text: String::new() };
    let Some(first) = lines.next()? else { return Ok(()) };
    let Message::Hello(hello) = first else {
        bail!("line 1: type must be hello, as nothing can be decided before the bounds are known");
    };
    let policy = policy(settings, &hello).context("line 1")?;
    let interval_s = policy.law.interval().as_secs_f64();
    answer(&mut output, &Ready { r#type: "ready", name: name(settings.mode), interval_s })?;
    let mut memory = Memory::new(&policy.law);
    while let Some(message) = lines.next()? {
        let reply;
        (memory, reply) = match message {
            Message::Observe(observed) => on_observation(&policy, memory, &observed),
            Message::Wake(observed) => (memory.woken(observed.now()), on_wake(&policy, &observed)),
            Message::Hello(_) => bail!("line {}: type must not be hello a second time", lines.number),
            Message::End => return Ok(()),
        };
        let reply = if settings.explain { reply } else { reply.without_reason() };
        answer(&mut output, &reply)?;
    }
    Ok(())
}

fn on_observation(policy: &Policy, memory: Memory, observed: &Observed) -> (Memory, Reply) {
    let (memory, decision) = decide(policy, memory, &observed.observation(), observed.now());
    let reason = Some(decision.reason.to_string());
    (memory, Reply { desired: decision.replicas, reason, message: Some(decision.message) })
}

/// As the controller does: a request that finds nothing is worth one allocation, or the least if that is more.
fn on_wake(policy: &Policy, observed: &Observed) -> Reply {
    let desired = observed.desired().max(policy.bounds.minimum()).max(1);
    Reply { desired, reason: Some("Woken".to_owned()), message: None }
}

fn policy(settings: &Settings, hello: &Hello) -> anyhow::Result<Policy> {
    let law = match settings.mode {
        Mode::Elasticsearch => Law::Elasticsearch,
        Mode::Slo => {
            let latency = hello.slo_s.context("slo_s is missing, which mode slo needs")?;
            let latency = Duration::try_from_secs_f64(latency).context("slo_s is no duration")?;
            ensure!(!latency.is_zero(), "slo_s must be above 0");
            Law::Slo(slo::Goal { latency, share: settings.target_percentile / 100.0 })
        }
    };
    let bounds = AllocationBounds::new(hello.min.unwrap_or_default(), hello.max)
        .context("min and max do not fit each other")?;
    Ok(Policy { bounds, scale_to_zero_time: settings.scale_to_zero_time, law })
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Elasticsearch => "lexiscale-elasticsearch",
        Mode::Slo => "lexiscale-slo",
    }
}

/// The other side waits for each line, so it is flushed.
fn answer(output: &mut impl Write, line: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    output.write_all(&text).and_then(|()| output.flush()).context("failed to write an answer")
}

struct Lines<Input> {
    input: Input,
    /// Of the latest line, from 1.
    number: u64,
    text: String,
}

impl<Input: BufRead> Lines<Input> {
    fn next(&mut self) -> anyhow::Result<Option<Message>> {
        loop {
            self.number += 1;
            self.text.clear();
            let number = self.number;
            let read = (&mut self.input)
                .take(LONGEST_LINE)
                .read_line(&mut self.text)
                .with_context(|| format!("line {number}: failed to read it"))?;
            if read == 0 {
                return Ok(None);
            }
            let whole = self.text.ends_with('\n') || u64::try_from(read)? < LONGEST_LINE;
            ensure!(whole, "line {number}: is longer than {LONGEST_LINE} bytes");
            if !self.text.trim().is_empty() {
                let message = protocol::parse(&self.text).with_context(|| format!("line {number}"))?;
                return Ok(Some(message));
            }
        }
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number < 100.0 => Ok(number),
        Ok(_) | Err(_) => Err("a number above 0 and below 100 is needed".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<SignedDuration, _> = text.parse();
    parsed
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "a duration such as 24h, 15m or 90s is needed".to_owned())
}
