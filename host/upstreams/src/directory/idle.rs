//! Connections that are bound and that nobody uses at the moment.

use std::sync::{Mutex, PoisonError};

use super::connection::Connection;

/// The last one that was used is used next, so that those that are not needed are closed for being idle.
#[derive(Debug)]
pub(super) struct Idle {
    connections: Mutex<Vec<Connection>>,
    most: usize,
}

impl Idle {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            connections: Mutex::new(Vec::new()),
            most,
        }
    }

    pub(super) fn take(&self) -> Option<Connection> {
        self.with(|connections| {
            connections.retain_mut(Connection::is_open);
            connections.pop()
        })
    }

    pub(super) fn give(&self, connection: Connection) {
        self.with(|connections| {
            connections.retain_mut(Connection::is_open);
            if connections.len() < self.most {
                connections.push(connection);
            }
        });
    }

    /// Closes one if there are as many as there may be.
    pub(super) fn make_room(&self) {
        self.with(|connections| {
            if connections.len() >= self.most {
                connections.remove(0);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Connection>) -> T) -> T {
        act(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
