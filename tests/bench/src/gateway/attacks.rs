//! Attacks beside ordinary requests, in turns without and with each of them: whether the ordinary ones notice, and whether every
//! attack is refused or cut as the documentation says.

mod floods;
mod holds;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use self::floods::{FLOODS, Flood};
use super::Settings;
use super::added::{Stage, TURN, Turns, turns_in};
use crate::engine::Engine;
use crate::figures::Figures;
use crate::load::{Arrival, Outcome, Target, arrivals, open};

/// For connections to come and go between turns.
const SETTLING: Duration = Duration::from_millis(200);

pub(super) async fn measure(settings: &Settings, engine: &Engine, figures: &mut Figures) -> Result<()> {
    let duration = Duration::from_secs_f64(settings.seconds);
    let stage = Stage::set(settings, engine).await?;
    let address = stage.gateway.address;
    let targets = [Target::new(address, "/_inference/busy")];
    let rate = stage.half(engine, &targets, duration).await?;
    figures.add("attacks_beside_requests_per_second", rate);
    for attack in Attack::all() {
        let beside = Beside { engine, address, targets: &targets, attack };
        beside.measure(rate, turns_in(duration) / 2, figures).await?;
    }
    holds::until_cut(address, figures).await
}

/// By which the figures of each attack are told apart.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Attack::all().map(Attack::name)
}

/// What somebody does who means harm.
#[derive(Clone, Copy)]
enum Attack {
    /// Connections that send nothing.
    Idle,
    /// Connections that never finish a head, or a body.
    Stalled,
    /// Connections whose bodies come by one byte a second.
    Trickling,
    /// Requests that are refused.
    Flood(Flood),
}

impl Attack {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Idle, Self::Stalled, Self::Trickling].into_iter().chain(FLOODS.map(Self::Flood))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Idle => "10000_idle",
            Self::Stalled => "2000_stalled",
            Self::Trickling => "1000_trickling",
            Self::Flood(flood) => flood.name,
        }
    }
}

struct Beside<'a> {
    engine: &'a Engine,
    address: SocketAddr,
    targets: &'a [Target],
    attack: Attack,
}

impl Beside<'_> {
    async fn measure(&self, rate: f64, pairs: usize, figures: &mut Figures) -> Result<()> {
        let mut random = fastrand::Rng::new();
        let (mut quiet, mut beside) = (Turns::default(), Turns::default());
        let mut refused = 0;
        for _ in 0..pairs {
            let arrivals = arrivals(rate, TURN, &mut random);
            quiet.add(open(self.engine, self.targets, &arrivals).await?);
            let (outcome, count) = self.attacked(&arrivals).await?;
            beside.add(outcome);
            refused += count;
            tokio::time::sleep(SETTLING).await;
        }
        let name = self.attack.name();
        figures.add(format!("p99_before_{name}_ms"), quiet.median(0.99));
        figures.add(format!("p99_beside_{name}_ms"), beside.median(0.99));
        if let Attack::Flood(_) = self.attack {
            ensure!(refused > 0, "{name} never came");
            figures.add(format!("refused_{name}_count"), f64::from(refused));
        }
        Ok(())
    }

    /// The load with the attack beside it, and how many requests of the attack were refused: all of them, or it is an error.
    async fn attacked(&self, arrivals: &[Arrival]) -> Result<(Outcome, u32)> {
        let measured = async {
            tokio::time::sleep(SETTLING).await;
            open(self.engine, self.targets, arrivals).await
        };
        match self.attack {
            Attack::Idle => {
                let _open = holds::idle(self.address).await?;
                Ok((measured.await?, 0))
            }
            Attack::Stalled => {
                let _open = holds::stalled(self.address).await?;
                Ok((measured.await?, 0))
            }
            Attack::Trickling => {
                let mut open = holds::trickling(self.address).await?;
                tokio::select! {
                    outcome = measured => Ok((outcome?, 0)),
                    never = holds::trickle(&mut open) => never,
                }
            }
            Attack::Flood(flood) => {
                let refused = Cell::new(0);
                let outcome = tokio::select! {
                    outcome = measured => outcome?,
                    never = flood.run(self.address, &refused) => never?,
                };
                Ok((outcome, refused.get()))
            }
        }
    }
}
