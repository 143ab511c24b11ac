//! What callouts have in common, which the store has once for all of them.

use std::collections::HashMap;

use crate::chain::{self, Hash};
use crate::record::Context;

/// How many contexts are remembered; more would be made by callers with as many applications or keys.
const REMEMBERED_CONTEXTS: usize = 4096;

/// Contexts that the store has, and their numbers there.
#[derive(Debug, Default)]
pub(crate) struct Contexts(HashMap<Context, (i64, Hash)>);

impl Contexts {
    /// Remembers contexts that have been committed, with the numbers that they have got.
    pub(crate) fn learn(&mut self, new: NewContexts, ids: &[i64]) {
        for (context, index) in new.indexes {
            let (Some(id), Some((_, hash))) = (ids.get(index), new.texts.get(index)) else {
                continue;
            };
            if self.0.len() >= REMEMBERED_CONTEXTS {
                self.0.clear();
            }
            self.0.insert(context, (*id, *hash));
        }
    }

    /// Forgets all, so that no context is used much longer after it was made than this is called.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Where a row's context is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In the store, with this number.
    Known(i64),
    /// Among those that are stored with the row.
    New(usize),
}

impl Place {
    /// The number in the store, when the new ones have got these.
    pub(crate) fn id(self, new: &[i64]) -> i64 {
        match self {
            Self::Known(id) => id,
            Self::New(index) => new.get(index).copied().unwrap_or_default(),
        }
    }
}

/// Contexts that the store has not, of the rows of one batch.
#[derive(Debug, Default)]
pub(crate) struct NewContexts {
    indexes: HashMap<Context, usize>,
    texts: Vec<(String, Hash)>,
}

impl NewContexts {
    /// Where a context is, and its hash. One that is not known yet is new.
    ///
    /// # Errors
    /// A defect: nothing in a context cannot be serialised.
    pub(crate) fn place(&mut self, known: &Contexts, context: &Context) -> serde_json::Result<(Place, Hash)> {
        if let Some((id, hash)) = known.0.get(context) {
            return Ok((Place::Known(*id), *hash));
        }
        if let Some((index, (_, hash))) = self
            .indexes
            .get(context)
            .and_then(|index| Some((index, self.texts.get(*index)?)))
        {
            return Ok((Place::New(*index), *hash));
        }
        let text = serde_json::to_string(context)?;
        let hash = chain::of_text(&text);
        let index = self.texts.len();
        self.texts.push((text, hash));
        self.indexes.insert(context.clone(), index);
        Ok((Place::New(index), hash))
    }

    /// Their texts, in the order of their numbers here.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|(text, _)| text.as_str())
    }
}
