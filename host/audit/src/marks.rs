//! Marks: places of the chain that the store's key authenticates.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::chain::{self, Hash, mark};
use crate::key::Key;
use crate::store::{StoreError, tail};
use crate::verify::Fault;

/// A place of the chain that was noted.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) seq: i64,
    pub(crate) hash: Hash,
    /// Whether it was noted with the store's key.
    pub(crate) is_authentic: bool,
}

/// Reads the mark of a name.
pub(crate) async fn read_mark(
    connection: &mut SqliteConnection,
    key: &Key,
    name: &str,
) -> Result<Option<Mark>, StoreError> {
    let row = sqlx::query("SELECT seq, hash, tag FROM mark WHERE name = ?").bind(name);
    let Some(row) = row.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let (hash, tag): (Vec<u8>, Vec<u8>) = (row.try_get(1)?, row.try_get(2)?);
    let (seq, hash) = (row.try_get(0)?, chain::to_hash(&hash));
    let is_authentic = chain::mark_tag(key, name, seq, &hash).as_slice() == tag;
    Ok(Some(Mark {
        seq,
        hash,
        is_authentic,
    }))
}

/// Writes a mark in place of the one of that name.
pub(crate) async fn put_mark(
    connection: &mut SqliteConnection,
    key: &Key,
    name: &str,
    seq: i64,
    hash: &Hash,
) -> Result<(), StoreError> {
    let tag = chain::mark_tag(key, name, seq, hash);
    sqlx::query("INSERT OR REPLACE INTO mark (name, seq, hash, tag) VALUES (?, ?, ?, ?)")
        .bind(name)
        .bind(seq)
        .bind(hash.as_slice())
        .bind(tag.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// What is wrong with the marks, or with the chain at their places.
pub(crate) async fn fault_of_marks(connection: &mut SqliteConnection, key: &Key) -> Result<Option<Fault>, StoreError> {
    let begin = read_mark(connection, key, mark::BEGIN).await?;
    let sealed = read_mark(connection, key, mark::SEALED).await?;
    let (last, _) = tail(connection).await?;
    let begins_after = begin.as_ref().map_or(0, |mark| mark.seq);
    Ok(match (begin, &sealed) {
        (Some(begin), _) if !begin.is_authentic => Some(Fault::of_mark(mark::BEGIN)),
        (None, None) if last == 0 => None,
        (_, None) => Some(Fault::NoMark {
            name: mark::SEALED.to_owned(),
        }),
        (_, Some(sealed)) if !sealed.is_authentic => Some(Fault::of_mark(mark::SEALED)),
        (_, Some(sealed)) if sealed.seq <= begins_after => None,
        (_, Some(sealed)) if sealed.seq > last => Some(Fault::CutOff { expected: sealed.seq }),
        (_, Some(sealed)) => compare(connection, sealed).await?,
    })
}

/// What is at the place of a mark, which is not beyond the chain's end.
async fn compare(connection: &mut SqliteConnection, mark: &Mark) -> Result<Option<Fault>, StoreError> {
    let (from, to, seq) = (mark.seq, mark.seq, mark.seq);
    let found: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM record WHERE seq = ?")
        .bind(seq)
        .fetch_optional(connection)
        .await?;
    Ok(match found {
        None => Some(Fault::Removed { from, to }),
        Some(found) if found != mark.hash => Some(Fault::Rewritten { seq }),
        Some(_) => None,
    })
}
