//! A connection for the time of one call.

use std::ops::{Deref, DerefMut};

use sqlx::Database;
use sqlx::pool::PoolConnection;

/// A connection that goes back into the pool if it is [kept](Self::keep), and is closed otherwise: nobody is given one
/// that still does what a call wanted that was cancelled.
pub(super) struct Lease<D: Database> {
    connection: PoolConnection<D>,
    is_clean: bool,
}

impl<D: Database> Lease<D> {
    pub(super) fn of(connection: PoolConnection<D>) -> Self {
        Self {
            connection,
            is_clean: false,
        }
    }

    /// Gives the connection back.
    pub(super) fn keep(mut self) {
        self.is_clean = true;
    }
}

impl<D: Database> Drop for Lease<D> {
    fn drop(&mut self) {
        if !self.is_clean {
            self.connection.close_on_drop();
        }
    }
}

impl<D: Database> Deref for Lease<D> {
    type Target = D::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<D: Database> DerefMut for Lease<D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}
