//! The load that runs, and the connections that are kept open for it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use mio::Token;

use super::Done;
use super::sockets::{Socket, Sockets};
use crate::load::{Outcome, Pace, Plan, Request, Target, milliseconds};
use crate::process::thread_cpu_time;

/// Connections to one target, as clients have them: several times what is in flight at a time. A request that finds none free waits
/// for one, and its time runs. Without a bound, each moment in which the machine stands still would end in hundreds of new connections.
const MOST_CONNECTIONS: usize = 128;

#[derive(Default)]
pub(super) struct Clients {
    /// By the number of the target.
    pools: HashMap<u64, Pool>,
    running: Option<Running>,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Token>,
    open: usize,
    waiting: VecDeque<Asked>,
}

/// A connection's part.
pub(super) struct Client {
    target: u64,
    asked: Option<Asked>,
}

/// A request that is not answered.
#[derive(Clone, Copy)]
struct Asked {
    number: usize,
    due: Instant,
    late: Duration,
}

struct Running {
    plan: Plan,
    done: Done,
    /// How many of the requests were sent that have their times.
    asked: usize,
    /// Asked and not answered.
    open: usize,
    /// Milliseconds that requests took, and were late by.
    samples: Vec<(f64, f64)>,
    began: Instant,
    cpu: Duration,
}

impl Clients {
    pub(super) fn start(&mut self, plan: Plan, done: Done) {
        let samples = match &plan.pace {
            Pace::Open(times) => vec![(f64::NAN, f64::NAN); times.len()],
            Pace::Closed(_) => Vec::new(),
        };
        let (began, cpu) = (Instant::now(), thread_cpu_time());
        self.running = Some(Running { plan, done, asked: 0, open: 0, samples, began, cpu });
    }

    /// When the next request is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.running.as_ref().and_then(Running::next)
    }

    /// Sends what is due.
    pub(super) fn due(&mut self, sockets: &mut Sockets) {
        while let Some(running) = &mut self.running
            && let Some(due) = running.next()
        {
            let now = Instant::now();
            if due > now {
                return;
            }
            let asked = Asked { number: running.asked, due, late: now - due };
            running.asked += 1;
            running.open += 1;
            if let Err(error) = self.ask(asked, sockets) {
                self.fail(error);
            }
        }
        self.end_if_over();
    }

    /// Something has come, or the connection has ended.
    pub(super) fn ready(&mut self, token: Token, sockets: &mut Sockets) {
        let Some(Socket::Client { connection, client }) = sockets.get(token) else { return };
        let mut answered = None;
        let read = connection.read(|message| {
            ensure!(message.is_ok(), "answered {}", message.first_line());
            answered = client.asked.take();
            Ok(())
        });
        let (target, is_asked) = (client.target, client.asked.is_some());
        let ended = match read {
            Ok(true) => None,
            Ok(false) => Some(anyhow!("the connection was closed before the answer")),
            Err(error) => Some(error),
        };
        let again = answered.and_then(|asked| self.running.as_mut()?.answered(&asked));
        let went_on = match ended {
            None if answered.is_some() => self.freed(target, token, sockets),
            None => Ok(()),
            Some(error) => {
                self.pool(target).closed(token);
                sockets.close(token);
                // One that nobody waits for may end.
                if is_asked { Err(error) } else { Ok(()) }
            }
        };
        let went_on = went_on.and_then(|()| again.map_or(Ok(()), |asked| self.ask(asked, sockets)));
        if let Err(error) = went_on {
            self.fail(error);
        }
        self.end_if_over();
    }

    fn ask(&mut self, asked: Asked, sockets: &mut Sockets) -> Result<()> {
        let Some(Running { plan, .. }) = &self.running else { return Ok(()) };
        let Request { target, bytes } = &plan.requests[asked.number];
        let Target { number: target, address, path: _ } = plan.targets[*target];
        let pool = self.pools.entry(target).or_default();
        let token = match pool.idle.pop() {
            Some(token) => token,
            None if pool.open < MOST_CONNECTIONS => {
                pool.open += 1;
                sockets.connect(address, Client { target, asked: None })?
            }
            None => {
                pool.waiting.push_back(asked);
                return Ok(());
            }
        };
        send(sockets, token, asked, bytes)
    }

    /// A connection has nothing to wait for.
    fn freed(&mut self, target: u64, token: Token, sockets: &mut Sockets) -> Result<()> {
        let pool = self.pools.entry(target).or_default();
        if let Some(running) = &self.running
            && let Some(asked) = pool.waiting.pop_front()
        {
            return send(sockets, token, asked, &running.plan.requests[asked.number].bytes);
        }
        pool.idle.push(token);
        Ok(())
    }

    fn pool(&mut self, target: u64) -> &mut Pool {
        self.pools.entry(target).or_default()
    }

    fn fail(&mut self, error: anyhow::Error) {
        if let Some(running) = self.running.take() {
            let _ = running.done.send(Err(error));
        }
        for pool in self.pools.values_mut() {
            pool.waiting.clear();
        }
    }

    fn end_if_over(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.is_over()) {
            running.end();
        }
    }
}

fn send(sockets: &mut Sockets, token: Token, asked: Asked, bytes: &[u8]) -> Result<()> {
    let Some(Socket::Client { connection, client }) = sockets.get(token) else {
        bail!("a connection that was kept open is gone");
    };
    client.asked = Some(asked);
    connection.send(bytes)
}

impl Pool {
    fn closed(&mut self, token: Token) {
        self.open -= 1;
        self.idle.retain(|idle| *idle != token);
    }
}

impl Running {
    fn next(&self) -> Option<Instant> {
        match &self.plan.pace {
            Pace::Open(times) => times.get(self.asked).map(|time| self.began + *time),
            Pace::Closed(_) => (self.asked < self.plan.requests.len()).then_some(self.began),
        }
    }

    /// Whether the client asks again.
    fn answered(&mut self, asked: &Asked) -> Option<Asked> {
        let now = Instant::now();
        let sample = (milliseconds(now - asked.due), milliseconds(asked.late));
        match &self.plan.pace {
            Pace::Open(_) => self.samples[asked.number] = sample,
            Pace::Closed(time) => {
                self.samples.push(sample);
                if now - self.began < *time {
                    return Some(Asked { number: asked.number, due: now, late: Duration::ZERO });
                }
            }
        }
        self.open -= 1;
        None
    }

    fn is_over(&self) -> bool {
        self.open == 0 && self.next().is_none()
    }

    fn end(self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let busy = thread_cpu_time().saturating_sub(self.cpu).as_secs_f64() / seconds;
        let (took, late) = self.samples.into_iter().unzip();
        // Whoever asked for it may be gone.
        let _ = self.done.send(Ok(Outcome { took, late, busy, seconds }));
    }
}
