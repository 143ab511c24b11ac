//! The way along the chain: reading record after record, and comparing each with its hash.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::chain::{self, BEGINNING, Content, Hash, NOTHING, is_somebody};
use crate::key::Key;
use crate::marks::Mark;
use crate::store::StoreError;
use crate::verify::Fault;

/// Rows read at once.
const PAGE: i64 = 500;
/// How many contexts' hashes are remembered.
const REMEMBERED_CONTEXTS: usize = 4096;

/// How far the chain was followed.
#[derive(Debug)]
pub(crate) struct Walk<'k> {
    key: &'k Key,
    /// The last record that was looked at; at first, the one before the chain's first.
    pub(crate) seq: i64,
    /// Its hash.
    pub(crate) hash: Hash,
    contexts: HashMap<i64, Hash>,
}

impl<'k> Walk<'k> {
    /// From the chain's beginning on.
    pub(crate) fn from(key: &'k Key, begin: Option<&Mark>) -> Self {
        let (seq, hash) = begin.map_or((0, BEGINNING), |mark| (mark.seq, mark.hash));
        Self {
            key,
            seq,
            hash,
            contexts: HashMap::new(),
        }
    }

    /// The next records, up to this one; none at the end.
    pub(crate) async fn page(
        &self,
        connection: &mut SqliteConnection,
        up_to: i64,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let page = sqlx::query("SELECT * FROM record WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?")
            .bind(self.seq)
            .bind(up_to)
            .bind(PAGE);
        Ok(page.fetch_all(connection).await?)
    }

    /// Goes on to the next record: what is wrong with it, or missing before it.
    pub(crate) async fn step(
        &mut self,
        connection: &mut SqliteConnection,
        row: &SqliteRow,
    ) -> Result<Option<Fault>, StoreError> {
        let seq: i64 = row.try_get("seq")?;
        let context = self.context(connection, row.try_get("context")?).await?;
        let (computed, is_erased_well) = self.computed(row, seq, &context)?;
        let stored: Vec<u8> = row.try_get("hash")?;
        let fault = if seq != self.seq + 1 {
            // Nothing is known of the record before, so this one is believed.
            let (from, to) = (self.seq + 1, seq - 1);
            Some(Fault::Removed { from, to })
        } else if computed.as_slice() != stored {
            Some(Fault::Changed { seq })
        } else {
            (!is_erased_well).then_some(Fault::Erasure { seq })
        };
        (self.seq, self.hash) = (seq, chain::to_hash(&stored));
        Ok(fault)
    }

    /// A context's hash; that of nothing for one that is gone.
    async fn context(&mut self, connection: &mut SqliteConnection, id: i64) -> Result<Hash, StoreError> {
        if let Some(hash) = self.contexts.get(&id) {
            return Ok(*hash);
        }
        let text = sqlx::query_scalar("SELECT text FROM context WHERE id = ?").bind(id);
        let text: Option<String> = text.fetch_optional(connection).await?;
        let hash = chain::of_text(&text.unwrap_or_default());
        if self.contexts.len() >= REMEMBERED_CONTEXTS {
            self.contexts.clear();
        }
        self.contexts.insert(id, hash);
        Ok(hash)
    }

    /// The hash that a record should have, and whether it was erased with the store's key if it was.
    fn computed(&self, row: &SqliteRow, seq: i64, context: &Hash) -> Result<(Hash, bool), StoreError> {
        let (salt, subject): (Vec<u8>, Vec<u8>) = (row.try_get("salt")?, row.try_get("subject")?);
        let personal: String = row.try_get("personal")?;
        let erased: Option<Vec<u8>> = row.try_get("erased")?;
        let has_personal = is_somebody(&salt) || is_somebody(&subject) || !personal.is_empty();
        let (commitment, is_erased_well) = match erased {
            // What was erased is gone: data beside the commitment was put there.
            Some(_) if has_personal => (chain::commitment(&salt, &subject, &personal), false),
            Some(erased) => {
                let commitment = chain::to_hash(&erased);
                (commitment, chain::erasure(self.key, seq, &commitment) == erased)
            }
            None if has_personal => (chain::commitment(&salt, &subject, &personal), true),
            None => (NOTHING, true),
        };
        let (correlation, application): (Vec<u8>, Vec<u8>) = (row.try_get("correlation")?, row.try_get("application")?);
        let (outcome, detail): (String, String) = (row.try_get("outcome")?, row.try_get("detail")?);
        let covered = Content {
            time: row.try_get("time")?,
            context,
            outcome: &outcome,
            correlation: &correlation,
            application: &application,
            detail: &detail,
            commitment: &commitment,
        };
        Ok((chain::hash(seq, &self.hash, &covered), is_erased_well))
    }
}
