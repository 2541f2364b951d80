//! What one endpoint's load comes to over time: the law's memory between observations, what the loop adds to the law for
//! safety, and what of it is worth a pass. PURE.
//!
//! A follower never writes. It proposes, and the controller's pass decides.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    autoscaler::{Decision, Reason},
    load::{Allocated, Baselines, Sample},
    scaling::{self, Law, Memory, Policy},
};

/// Intervals of unbroken observation before anything is taken away: after a start, a change of leader, or a silence, whoever
/// looks knows too little to shrink.
const UNBROKEN: u32 = 5;

/// And at least for this time, however short the intervals are.
const UNBROKEN_AT_LEAST: Duration = Duration::from_secs(10);

/// How long a reason to stay has to hold before it is told. A write for each flicker would be many. Less where somebody looks
/// more often than the law wants.
const TELLS_AFTER: Duration = Duration::from_secs(30);

/// How long nothing has to stand in the way before that is told.
const TELLS_STEADY_AFTER: Duration = Duration::from_mins(2);

/// Longest memory that the status takes.
const LONGEST_MEMORY: usize = 4096;

/// One endpoint's load, followed.
#[derive(Clone, Debug)]
pub struct Follower {
    memory: Memory,
    baselines: Baselines,
    looked: Option<Timestamp>,
    /// Since when no source that counts was silent.
    unbroken: Option<Timestamp>,
    /// The wake-up that the memory knows of.
    woken: Option<Timestamp>,
    /// What was said of the latest look, but for its numbers, and since when it is said.
    saying: Option<(String, Timestamp)>,
}

/// What the loop sees of an endpoint at one time.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    pub policy: &'a Policy,
    /// As the status has it.
    pub decision: &'a Decision,
    pub allocated: Allocated,
    pub sources: Sources,
    /// Whether nobody used the endpoint for the time that its policy names, beyond doubt, or what speaks against it.
    pub idleness: Result<(), String>,
}

/// What the sources say.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    pub samples: Vec<Sample>,
    /// A source without which nothing is known: a gateway that takes requests.
    pub missing: Option<String>,
    /// A source without which too little is known to take anything away: a worker, which may be asked directly.
    pub doubtful: Option<String>,
}

/// What load asks the pass for.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The number and the wake-up that it was made for. Any other has overtaken it.
    pub from: u32,
    pub woken: Option<Timestamp>,
    pub replicas: u32,
    pub reason: scaling::Reason,
    pub message: String,
    pub memory: Option<String>,
}

impl Follower {
    /// Goes on where the decision's memory stopped.
    pub fn resume(policy: &Policy, decision: &Decision) -> Self {
        let stored = decision.memory.as_deref().and_then(|memory| serde_json::from_str(memory).ok());
        let memory = stored.unwrap_or_else(|| Memory::new(&policy.law));
        // The memory is older than the wake-up that was decided with it.
        let memory = if decision.reason == Reason::WokenUp { memory.woken(decision.time) } else { memory };
        let memory = memory.resumed();
        Self {
            memory,
            baselines: Baselines::default(),
            looked: None,
            unbroken: None,
            woken: decision.wake_requested_at,
            saying: None,
        }
    }

    /// When the next look is due, where somebody comes by every `round`.
    pub fn due(&self, interval: Duration, round: Duration, now: Timestamp) -> bool {
        // Half a round early is better than half a round late.
        let nearly = interval.saturating_sub(round / 2).as_secs_f64();
        // A clock may be put back.
        self.looked.is_none_or(|looked| now < looked || now.duration_since(looked).as_secs_f64() >= nearly)
    }

    /// Seconds for which no source that counts was silent.
    pub fn watched(&self, now: Timestamp) -> f64 {
        self.unbroken.map_or(0.0, |since| now.duration_since(since).as_secs_f64())
    }

    /// What the law said of this look, and what the pass should hear of it. `interval` is the planned one.
    pub fn follow(
        &mut self,
        seen: &Seen<'_>,
        interval: Duration,
        now: Timestamp,
    ) -> (scaling::Decision, Option<Proposal>) {
        let stored = seen.decision;
        if self.woken != stored.wake_requested_at {
            self.woken = stored.wake_requested_at;
            self.memory = self.memory.clone().woken(now);
        }
        let decided = self.decide(seen, interval, now);
        let proposal = self.proposal(seen, &decided, interval, now);
        (decided, proposal)
    }

    fn decide(&mut self, seen: &Seen<'_>, interval: Duration, now: Timestamp) -> scaling::Decision {
        let Seen { policy, decision, allocated, sources, idleness } = seen;
        let current = decision.replicas;
        let keep = |reason, message| scaling::Decision { replicas: current, reason, message };
        if let Some(missing) = &sources.missing {
            // Whatever comes after a silence is compared with nothing.
            self.baselines = Baselines::default();
            self.looked = None;
            self.unbroken = None;
            self.memory = self.memory.clone().resumed();
            return keep(scaling::Reason::NoData, format!("keeps {current}: {missing}"));
        }
        let looked = self.looked.replace(now);
        let elapsed = looked.map_or(0.0, |looked| now.duration_since(looked).as_secs_f64());
        let happened = self.baselines.advance(sources.samples.iter().cloned(), elapsed);
        if looked.is_none() {
            self.unbroken = Some(now);
            return keep(scaling::Reason::NoData, "has begun to observe".to_owned());
        }
        let has_goal = matches!(policy.law, Law::Slo(_));
        let observation = happened.observation(elapsed, *allocated, has_goal);
        let (memory, wanted) = scaling::decide(policy, self.memory.clone(), &observation, now);
        self.memory = memory;
        let scaling::Decision { replicas, message, .. } = &wanted;
        if *replicas >= current {
            return wanted;
        }
        if let Some(doubtful) = &sources.doubtful {
            return keep(scaling::Reason::NoData, format!("would be {replicas}, but {doubtful}; {message}"));
        }
        let observed = self.watched(now);
        let left = (interval * UNBROKEN).max(UNBROKEN_AT_LEAST).as_secs_f64() - observed;
        if left > 0.0 {
            let message = format!(
                "would be {replicas}, but has observed for {observed:.0} s only, {left:.0} s are left; {message}"
            );
            return keep(scaling::Reason::Cooldown, message);
        }
        match idleness {
            Err(doubt) if *replicas == 0 => {
                keep(scaling::Reason::NoData, format!("would be 0, but {doubt}; {message}"))
            }
            Ok(()) | Err(_) => wanted,
        }
    }

    /// A number that changes is worth a pass at once, a reason to stay when it has held for a while.
    fn proposal(
        &mut self,
        seen: &Seen<'_>,
        decided: &scaling::Decision,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Proposal> {
        let scaling::Decision { replicas, reason, message } = decided;
        let gist = gist(*reason, message);
        let since = match &self.saying {
            Some((before, since)) if *before == gist => *since,
            Some(_) | None => now,
        };
        let is_news = is_news(*reason, &gist, seen);
        self.saying = Some((gist, since));
        let patience = if *reason == scaling::Reason::Steady { TELLS_STEADY_AFTER } else { TELLS_AFTER };
        let hurry = interval.as_secs_f64() / seen.policy.law.interval().as_secs_f64();
        let holds = now.duration_since(since).as_secs_f64() >= patience.as_secs_f64() * hurry;
        let is_told = *replicas != seen.decision.replicas || (holds && is_news);
        is_told.then(|| Proposal {
            from: seen.decision.replicas,
            woken: seen.decision.wake_requested_at,
            replicas: *replicas,
            reason: *reason,
            message: message.clone(),
            memory: self.stored_memory(),
        })
    }

    fn stored_memory(&self) -> Option<String> {
        serde_json::to_string(&self.memory).ok().filter(|memory| memory.len() <= LONGEST_MEMORY)
    }
}

/// Whether a reason to stay says something that the status does not. Why the number is what it is stays there until
/// something asks for another number in vain, and comes to be steady when that is over.
fn is_news(reason: scaling::Reason, gist: &str, seen: &Seen<'_>) -> bool {
    // What sleeps is idle and nothing else, and a start is told by the wake-up until it is over.
    if seen.decision.replicas == 0 || seen.allocated.ready == 0 {
        return false;
    }
    let held = match &seen.decision.reason {
        Reason::Load(
            held @ (scaling::Reason::Cooldown | scaling::Reason::NoData | scaling::Reason::AtMaximum),
        ) => Some(*held),
        Reason::Load(_)
        | Reason::Fixed
        | Reason::Start
        | Reason::WokenUp
        | Reason::Bounds
        | Reason::Other(_) => None,
    };
    match reason {
        scaling::Reason::Cooldown | scaling::Reason::NoData | scaling::Reason::AtMaximum => {
            held.is_none_or(|held| self::gist(held, &seen.decision.message) != gist)
        }
        scaling::Reason::Steady => held.is_some(),
        scaling::Reason::HighLoad
        | scaling::Reason::LowLoad
        | scaling::Reason::Idle
        | scaling::Reason::Bounds => false,
    }
}

/// What a sentence says but for its numbers, which change with every look.
fn gist(reason: scaling::Reason, message: &str) -> String {
    let words = message.split(|one: char| one.is_ascii_digit() || one == '.').filter(|word| !word.is_empty());
    format!("{reason} {}", words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
#[path = "follower/tests.rs"]
mod tests;
