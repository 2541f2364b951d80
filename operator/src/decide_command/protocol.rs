//! The lines that `decide` reads and writes. PURE.

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use lexiscale_core::scaling::Observation;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What the other side says.
#[derive(Debug)]
pub(super) enum Message {
    Hello(Hello),
    /// An interval is over.
    Observe(Observed),
    /// A request has come while nothing runs.
    Wake(Observed),
    End,
}

#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    protocol: u32,
    pub min: Option<u32>,
    pub max: u32,
    pub slo_s: Option<f64>,
}

/// An observation at a time. Unknown fields are of later versions, and are left out.
#[derive(Debug, Deserialize)]
pub(super) struct Observed {
    t: f64,
    dt: f64,
    desired: u32,
    ready: u32,
    starting: u32,
    arrivals: u64,
    completed: u64,
    dropped: u64,
    queued: u64,
    in_flight: u64,
    avg_service_s: Option<f64>,
    avg_queue_wait_s: Option<f64>,
    avg_latency_s: Option<f64>,
    avg_concurrency: f64,
    utilization: Option<f64>,
    /// Not in version 1: what our gateways count.
    late: Option<u64>,
    service_variation: Option<f64>,
    #[serde(default)]
    standby: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Ready {
    pub r#type: &'static str,
    pub name: &'static str,
    pub interval_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Reply {
    pub desired: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Reply {
    pub(super) fn without_reason(self) -> Self {
        Self { reason: None, message: None, ..self }
    }
}

const PROTOCOL: u32 = 1;

/// Some three hundred years, in seconds: a larger `t` is a mistake, of milliseconds for example.
const LATEST: f64 = 1e10;

/// Errors name the field.
pub(super) fn parse(line: &str) -> anyhow::Result<Message> {
    let fields: Map<String, Value> = serde_json::from_str(line).context("is no JSON object")?;
    let Some(Value::String(kind)) = fields.get("type") else { bail!("type is missing or no string") };
    match kind.clone().as_str() {
        "hello" => {
            let hello: Hello = read(fields)?;
            let spoken = hello.protocol;
            ensure!(spoken == PROTOCOL, "protocol is {spoken}, but {PROTOCOL} is spoken here");
            Ok(Message::Hello(hello))
        }
        "observe" => Ok(Message::Observe(observed(fields)?)),
        "wake" => Ok(Message::Wake(observed(fields)?)),
        "end" => Ok(Message::End),
        other => bail!("type is {other:?}, but must be hello, observe, wake or end"),
    }
}

fn observed(fields: Map<String, Value>) -> anyhow::Result<Observed> {
    let observed: Observed = read(fields)?;
    let t = observed.t;
    ensure!((0.0..=LATEST).contains(&t), "t is {t}, but must be seconds from 0 to {LATEST}");
    Ok(observed)
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> anyhow::Result<T> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        // What is missing has no path, and its name stands in the message.
        if path == "." { anyhow::anyhow!("{cause}") } else { anyhow::anyhow!("{path}: {cause}") }
    })
}

impl Observed {
    pub(super) fn desired(&self) -> u32 {
        self.desired
    }

    #[expect(clippy::cast_possible_truncation, reason = "t was checked: 1e16 microseconds fit")]
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_microsecond((self.t * 1e6).round() as i64).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(super) fn observation(&self) -> Observation {
        Observation {
            interval: self.dt,
            desired: self.desired,
            ready: self.ready,
            starting: self.starting,
            standby: self.standby,
            youngest: None,
            arrivals: self.arrivals,
            completed: self.completed,
            failed: self.dropped,
            queued: self.queued,
            queue_growth: None,
            in_flight: self.in_flight,
            service_time: self.avg_service_s,
            queue_time: self.avg_queue_wait_s,
            latency: self.avg_latency_s,
            concurrency: self.avg_concurrency,
            utilization: self.utilization,
            late: self.late,
            service_time_variation: self.service_variation,
        }
    }
}
