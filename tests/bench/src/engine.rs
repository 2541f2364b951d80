//! The load and the stub workers that answer it: one thread that does nothing else. It waits in epoll until a socket is ready or
//! something is due.
//!
//! On an async runtime each step of a request (that it is due, a stub's pause, its answer) is a timer that is set and a task that is
//! woken. They took as much of the core as the sockets, and what a load on a busy core is late by counts as the gateway's.

mod clients;
mod pauses;
mod sockets;
mod stubs;

use std::collections::HashMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::{Events, Poll, Token, Waker};
use tokio::sync::oneshot;

use self::clients::Clients;
use self::pauses::Pauses;
use self::sockets::{Socket, Sockets};
use self::stubs::Stub;
use crate::load::{Outcome, Plan};
use crate::process;
use crate::worker::Service;

const ORDERS: Token = Token(0);
const DUE: Token = Token(1);
const FIRST_SOCKET: usize = 2;
/// So many sockets at a time, so that what gets due meanwhile is late by no more than they take.
const EVENTS: usize = 16;

/// Ends with the last of its copies.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Shared>);

struct Shared {
    orders: mpsc::Sender<Order>,
    waker: Waker,
    stubs: AtomicU64,
}

enum Order {
    Listen { stub: u64, listener: TcpListener, service: Service },
    End { stub: u64 },
    Load { plan: Plan, done: Done },
    Stop,
}

type Done = oneshot::Sender<Result<Outcome>>;

impl Engine {
    pub(crate) fn start() -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), ORDERS)?;
        let (orders, received) = mpsc::channel();
        let work = move || {
            let ended = process::prefer_this_thread().and_then(|()| Loop::new(poll, received)?.run());
            if let Err(error) = ended {
                eprintln!("load and stubs ended: {error:#}");
            }
        };
        std::thread::Builder::new().name("load".to_owned()).spawn(work)?;
        Ok(Self(Arc::new(Shared { orders, waker, stubs: AtomicU64::new(0) })))
    }

    /// A stub, until it is told to end.
    pub(crate) fn listen(&self, listener: TcpListener, service: Service) -> Result<u64> {
        listener.set_nonblocking(true)?;
        let stub = self.0.stubs.fetch_add(1, Ordering::Relaxed);
        self.order(Order::Listen { stub, listener, service })?;
        Ok(stub)
    }

    pub(crate) fn end(&self, stub: u64) {
        // A thread that ended has none.
        let _ = self.order(Order::End { stub });
    }

    /// One at a time.
    pub(crate) async fn load(&self, plan: Plan) -> Result<Outcome> {
        let (done, outcome) = oneshot::channel();
        self.order(Order::Load { plan, done })?;
        outcome.await.context("the thread of load and stubs is gone")?
    }

    fn order(&self, order: Order) -> Result<()> {
        self.0.orders.send(order).ok().context("the thread of load and stubs is gone")?;
        Ok(self.0.waker.wake()?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        let _ = self.waker.wake();
    }
}

struct Loop {
    poll: Poll,
    orders: mpsc::Receiver<Order>,
    sockets: Sockets,
    pauses: Pauses,
    clients: Clients,
    stubs: HashMap<u64, Rc<Stub>>,
}

impl Loop {
    fn new(poll: Poll, orders: mpsc::Receiver<Order>) -> Result<Self> {
        let pauses = Pauses::new(poll.registry(), DUE)?;
        let sockets = Sockets::new(poll.registry().try_clone()?, FIRST_SOCKET);
        Ok(Self { poll, orders, sockets, pauses, clients: Clients::default(), stubs: HashMap::new() })
    }

    fn run(mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let next = self.due();
            self.wait(next, &mut events)?;
            for event in &events {
                match event.token() {
                    ORDERS if !self.take_orders()? => return Ok(()),
                    ORDERS | DUE => {}
                    socket => self.ready(socket),
                }
            }
        }
    }

    /// Does what is due, and says when there is more of it.
    fn due(&mut self) -> Option<Instant> {
        while let Some(socket) = self.pauses.over(Instant::now()) {
            // A connection that was closed needs no answer.
            let Some(Socket::Asked { connection, stub }) = self.sockets.get(socket) else { continue };
            if connection.send(&stub.answer()).is_err() {
                self.sockets.close(socket);
            }
        }
        self.clients.due(&mut self.sockets);
        [self.pauses.next(), self.clients.next()].into_iter().flatten().min()
    }

    /// Until a socket is ready, or until then.
    fn wait(&mut self, next: Option<Instant>, events: &mut Events) -> Result<()> {
        let now = Instant::now();
        let is_due = next.is_some_and(|next| next <= now);
        if !is_due && let Some(next) = next {
            self.pauses.ring_at(next, now)?;
        }
        match self.poll.poll(events, is_due.then_some(Duration::ZERO)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether to go on.
    fn take_orders(&mut self) -> Result<bool> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Listen { stub: number, listener, service } => {
                    let stub = Rc::new(Stub::new(service));
                    self.sockets.listen(listener, Rc::clone(&stub))?;
                    self.stubs.insert(number, stub);
                }
                Order::End { stub } => {
                    if let Some(stub) = self.stubs.remove(&stub) {
                        self.sockets.end(&stub);
                    }
                }
                Order::Load { plan, done } => self.clients.start(plan, done),
                Order::Stop => return Ok(false),
            }
        }
        Ok(true)
    }

    fn ready(&mut self, token: Token) {
        // One that was closed may have left an event behind.
        match self.sockets.get(token) {
            Some(Socket::Listener { .. }) => self.sockets.accept(token),
            Some(Socket::Asked { connection, stub }) => {
                let pauses = &mut self.pauses;
                let now = Instant::now();
                let read = connection.read(|message| {
                    pauses.push(stub.takes(message.body, now)?, token);
                    Ok(())
                });
                if !matches!(read, Ok(true)) {
                    self.sockets.close(token);
                }
            }
            Some(Socket::Client { .. }) => self.clients.ready(token, &mut self.sockets),
            None => {}
        }
    }
}
