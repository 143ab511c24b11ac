//! Names whose addresses change.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use claimsmith_upstreams::{Lookup, Lookups};

/// Resolves every name, whichever it is, as it was told to: one answer after another, the last one again and again.
#[derive(Debug)]
pub struct ScriptedNames(Mutex<Vec<Vec<IpAddr>>>);

impl ScriptedNames {
    /// What answers so.
    #[must_use]
    pub fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

impl Lookup for ScriptedNames {
    fn lookup(&self, _name: &str) -> Lookups {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        };
        Box::pin(async move { Ok(next) })
    }
}
