//! How many allocations an endpoint should have, and why. PURE.
//!
//! The latest decision is kept in `status.decision` and is all the memory there is: what is remembered stays until the spec
//! changes, a request wakes the endpoint, or load asks for another number (`follower.rs`).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use lexiscale_crds::ScalingDecision;

use crate::{
    follower::Proposal,
    scaling,
    validated::{AllocationBounds, Allocations},
    wake,
};

/// A number of allocations with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub replicas: u32,
    pub reason: Reason,
    /// The reason in a sentence, with its numbers.
    pub message: String,
    /// When this number was decided.
    pub time: Timestamp,
    /// The latest wake-up that was taken note of.
    pub wake_requested_at: Option<Timestamp>,
    /// What the law of an adaptive endpoint remembers, as JSON.
    pub memory: Option<String>,
}

/// Why this number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `numAllocations`.
    Fixed,
    /// An adaptive endpoint starts with its minimum, or with one where the minimum is zero: nobody has shown yet that
    /// it is idle. Or with none, if it is to wait for a request. One that was fixed starts with what it had.
    Start,
    /// A request came while it slept at zero.
    WokenUp,
    /// The number that was remembered was outside of its bounds.
    Bounds,
    /// What load asks for, or why it stays.
    Load(scaling::Reason),
    /// What was remembered has a reason that is not decided here.
    Other(String),
}

impl Reason {
    fn read(word: &str) -> Self {
        use scaling::Reason as Load;
        let load = [
            Load::NoData,
            Load::Steady,
            Load::HighLoad,
            Load::LowLoad,
            Load::Cooldown,
            Load::AtMaximum,
            Load::Idle,
        ];
        [Self::Fixed, Self::Start, Self::WokenUp, Self::Bounds]
            .into_iter()
            .chain(load.map(Self::Load))
            .find(|reason| reason.as_str() == word)
            .unwrap_or_else(|| Self::Other(word.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Fixed => "Fixed",
            Self::Start => "Start",
            Self::WokenUp => "WokenUp",
            Self::Bounds => "Bounds",
            Self::Load(reason) => match reason {
                scaling::Reason::NoData => "NoData",
                scaling::Reason::Steady => "Steady",
                scaling::Reason::HighLoad => "HighLoad",
                scaling::Reason::LowLoad => "LowLoad",
                scaling::Reason::Cooldown => "Cooldown",
                scaling::Reason::AtMaximum => "AtMaximum",
                scaling::Reason::Idle => "Idle",
                scaling::Reason::Bounds => "Bounds",
            },
            Self::Other(word) => word,
        }
    }
}

impl From<scaling::Reason> for Reason {
    fn from(reason: scaling::Reason) -> Self {
        match reason {
            scaling::Reason::Bounds => Self::Bounds,
            scaling::Reason::NoData
            | scaling::Reason::Steady
            | scaling::Reason::HighLoad
            | scaling::Reason::LowLoad
            | scaling::Reason::Cooldown
            | scaling::Reason::AtMaximum
            | scaling::Reason::Idle => Self::Load(reason),
        }
    }
}

impl Decision {
    /// From the status. A number that cannot be is no memory.
    pub fn read(stored: &ScalingDecision) -> Option<Self> {
        let ScalingDecision { allocations, reason, message, time, wake_requested_at, memory } = stored;
        Some(Self {
            replicas: u32::try_from(*allocations).ok()?,
            reason: Reason::read(reason),
            message: message.clone(),
            time: time.0,
            wake_requested_at: wake_requested_at.as_ref().map(|time| time.0),
            memory: memory.clone(),
        })
    }

    /// Whether nothing is to be downloaded or started before somebody asks.
    pub fn waits_for_first_request(&self) -> bool {
        self.replicas == 0 && self.reason == Reason::Start
    }

    /// As the status keeps it.
    pub fn stored(&self) -> ScalingDecision {
        let Self { replicas, reason, message, time, wake_requested_at, memory } = self;
        ScalingDecision {
            allocations: i32::try_from(*replicas).unwrap_or(i32::MAX),
            reason: reason.as_str().to_owned(),
            message: message.clone(),
            time: Time(*time),
            wake_requested_at: wake_requested_at.map(MicroTime),
            memory: memory.clone(),
        }
    }
}

/// Decides for an endpoint from its spec, from what was decided before, from the wake-up that gateways ask for, and from
/// what load proposes.
pub fn decide(
    allocations: Allocations,
    memory: Option<&Decision>,
    wake_requested_at: Option<Timestamp>,
    proposal: Option<&Proposal>,
    now: Timestamp,
) -> Decision {
    let noted = memory.and_then(|memory| memory.wake_requested_at);
    let asked = wake_requested_at.filter(|_| wake::is_unanswered(wake_requested_at, noted));
    if let (Allocations::Adaptive(bounds), Some(memory)) = (allocations, memory)
        && let Some(proposal) = proposal.filter(|proposal| applies(proposal, memory, asked, bounds))
    {
        return followed(proposal, memory, wake_requested_at, bounds, now);
    }
    let (replicas, reason, message) = match (allocations, memory) {
        (Allocations::Fixed(count), _) => (count.get(), Reason::Fixed, format!("numAllocations is {count}")),
        (Allocations::Adaptive(bounds), None) => start(bounds, asked),
        (Allocations::Adaptive(bounds), Some(memory)) => match (memory.replicas, asked) {
            (0, _) if memory.waits_for_first_request() => start(bounds, asked),
            (0, Some(asked)) => woken(bounds, asked),
            (0, None) => (0, memory.reason.clone(), asleep(memory, bounds)),
            (1.., _) => awake(memory, bounds),
        },
    };
    // The time is the number's: a word more in its message does not make it younger.
    let same = memory.filter(|memory| memory.replicas == replicas && memory.reason == reason);
    let time = same.map_or(now, |memory| memory.time);
    let remembers = matches!(allocations, Allocations::Adaptive(_));
    let memory = memory.and_then(|memory| memory.memory.clone()).filter(|_| remembers);
    Decision { replicas, reason, message, time, wake_requested_at, memory }
}

/// Whether what load proposes was made for what is remembered. A request that asks for a wake-up is one that no gateway had
/// counted: it speaks against zero.
fn applies(
    proposal: &Proposal,
    memory: &Decision,
    asked: Option<Timestamp>,
    bounds: AllocationBounds,
) -> bool {
    let is_of_this = proposal.from == memory.replicas && proposal.woken == memory.wake_requested_at;
    let within = (bounds.minimum()..=bounds.maximum().get()).contains(&memory.replicas);
    is_of_this
        && memory.replicas > 0
        && within
        && memory.reason != Reason::Fixed
        && (proposal.replicas > 0 || (asked.is_none() && bounds.minimum() == 0))
}

/// A number that stays has the time of when it was decided, whatever else is said of it.
fn followed(
    proposal: &Proposal,
    memory: &Decision,
    wake_requested_at: Option<Timestamp>,
    bounds: AllocationBounds,
    now: Timestamp,
) -> Decision {
    let replicas = proposal.replicas.clamp(bounds.minimum(), bounds.maximum().get());
    Decision {
        replicas,
        reason: proposal.reason.into(),
        message: proposal.message.clone(),
        time: if replicas == memory.replicas { memory.time } else { now },
        wake_requested_at,
        memory: proposal.memory.clone(),
    }
}

type Reasoned = (u32, Reason, String);

fn start(bounds: AllocationBounds, asked: Option<Timestamp>) -> Reasoned {
    match (bounds.first(), asked) {
        (0, Some(asked)) => woken(bounds, asked),
        (0, None) => (0, Reason::Start, "waits for its first request".to_owned()),
        (first, _) => {
            let minimum = bounds.minimum();
            (first, Reason::Start, format!("starts with {first}, for a minimum of {minimum}"))
        }
    }
}

/// Exactly one, whatever the load; a minimum that was raised meanwhile counts from now on.
fn woken(bounds: AllocationBounds, asked: Timestamp) -> Reasoned {
    let replicas = bounds.minimum().max(1);
    (replicas, Reason::WokenUp, format!("woken to {replicas} by a request of {asked}"))
}

/// What a message says about a minimum that does not count yet.
const NOT_YET: &str = "; minNumberOfAllocations ";

/// A raised minimum does not wake what sleeps, as in Elasticsearch. That is said for as long as it is so.
fn asleep(memory: &Decision, bounds: AllocationBounds) -> String {
    let reason = memory.message.split(NOT_YET).next().unwrap_or_default();
    match bounds.minimum() {
        0 => reason.to_owned(),
        minimum => format!("{reason}{NOT_YET}{minimum} counts from the next request on"),
    }
}

fn awake(memory: &Decision, bounds: AllocationBounds) -> Reasoned {
    let (before, minimum, maximum) = (memory.replicas, bounds.minimum(), bounds.maximum().get());
    let replicas = before.clamp(minimum, maximum);
    if replicas != before {
        let message = format!("{replicas} instead of {before}, for bounds of {minimum} to {maximum}");
        (replicas, Reason::Bounds, message)
    } else if memory.reason == Reason::Fixed {
        let message = format!("goes on with {replicas}, the numAllocations of before");
        (replicas, Reason::Start, message)
    } else {
        (replicas, memory.reason.clone(), memory.message.clone())
    }
}

/// The allocations that must serve before the endpoint counts as ready. An adaptive endpoint that is growing beyond its
/// minimum serves what it promised all the while, and one that sleeps promised none.
pub fn required(allocations: Allocations, decision: &Decision) -> u32 {
    match allocations {
        Allocations::Fixed(count) => count.get(),
        Allocations::Adaptive(bounds) => bounds.minimum().max(1).min(decision.replicas),
    }
}
