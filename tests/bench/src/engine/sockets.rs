//! All sockets of load and stubs, by tokens that are never used again: what is left behind of a socket that is gone finds nothing.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::clients::Client;
use super::stubs::Stub;
use crate::wire::{self, Message};

/// More than a request or an answer has.
const READ: usize = 2 << 10;

pub(super) struct Sockets {
    registry: Registry,
    next: usize,
    by_token: HashMap<Token, Socket>,
}

pub(super) enum Socket {
    Listener {
        listener: mio::net::TcpListener,
        stub: Rc<Stub>,
    },
    /// Somebody's connection to a stub.
    Asked {
        connection: Connection,
        stub: Rc<Stub>,
    },
    /// A connection of ours.
    Client {
        connection: Connection,
        client: Client,
    },
}

pub(super) struct Connection {
    stream: TcpStream,
    /// The beginning of a message.
    received: Vec<u8>,
}

impl Sockets {
    pub(super) fn new(registry: Registry, first: usize) -> Self {
        Self { registry, next: first, by_token: HashMap::new() }
    }

    pub(super) fn get(&mut self, token: Token) -> Option<&mut Socket> {
        self.by_token.get_mut(&token)
    }

    pub(super) fn close(&mut self, token: Token) {
        self.by_token.remove(&token);
    }

    pub(super) fn listen(&mut self, listener: TcpListener, stub: Rc<Stub>) -> Result<()> {
        let mut listener = mio::net::TcpListener::from_std(listener);
        let token = self.token();
        self.registry.register(&mut listener, token, Interest::READABLE)?;
        self.by_token.insert(token, Socket::Listener { listener, stub });
        Ok(())
    }

    /// All who want to be.
    pub(super) fn accept(&mut self, token: Token) {
        while let Some(Socket::Listener { listener, stub }) = self.by_token.get(&token) {
            let Ok((stream, _)) = listener.accept() else { return };
            let stub = Rc::clone(stub);
            // One that breaks at once is its client's to notice.
            let _ = self.add(stream, |connection| Socket::Asked { connection, stub });
        }
    }

    pub(super) fn connect(&mut self, address: SocketAddr, client: Client) -> Result<Token> {
        // On one machine it does not wait: the kernel of the listener is this one.
        let stream = std::net::TcpStream::connect(address)
            .with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nonblocking(true)?;
        self.add(TcpStream::from_std(stream), |connection| Socket::Client { connection, client })
    }

    /// Ends a stub with all its connections.
    pub(super) fn end(&mut self, ended: &Rc<Stub>) {
        self.by_token.retain(|_, socket| match socket {
            Socket::Listener { stub, .. } | Socket::Asked { stub, .. } => !Rc::ptr_eq(stub, ended),
            Socket::Client { .. } => true,
        });
    }

    fn add(&mut self, mut stream: TcpStream, socket: impl FnOnce(Connection) -> Socket) -> Result<Token> {
        stream.set_nodelay(true)?;
        let token = self.token();
        self.registry.register(&mut stream, token, Interest::READABLE)?;
        self.by_token.insert(token, socket(Connection { stream, received: Vec::new() }));
        Ok(token)
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        Token(self.next - 1)
    }
}

impl Connection {
    /// Messages are small, and one is on its way at a time: they fit.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.stream.write(bytes)?;
        ensure!(sent == bytes.len(), "a connection is full");
        Ok(())
    }

    /// Takes the messages that have come; says whether more can come.
    pub(super) fn read(&mut self, mut take: impl FnMut(Message<&[u8]>) -> Result<()>) -> Result<bool> {
        loop {
            let mut bytes = [0; READ];
            let length = match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.received.extend_from_slice(&bytes[..length]);
            let mut taken = 0;
            while let Some((message, end)) = wire::message(&self.received[taken..])? {
                taken += end;
                take(message)?;
            }
            self.received.drain(..taken);
            if length < READ {
                // What comes from now on is another event.
                return Ok(true);
            }
        }
    }
}
