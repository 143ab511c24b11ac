//! The sign-in log: the last sign-ins, newest first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use uuid::Uuid;

use crate::callout::CalloutRecord;

/// Sign-ins that are remembered; the oldest is forgotten for the next one.
const CAPACITY: usize = 1000;

/// One sign-in of the log.
#[derive(Debug, Clone, Serialize)]
pub struct SignInRecord {
    /// Correlation id, the same as in the callout.
    pub correlation_id: Uuid,
    /// When it began, RFC 3339 with milliseconds.
    pub created_date_time: String,
    /// What the user did.
    pub activity: Activity,
    /// Object id of the user; nil when there is none, because a sign-up did not come to its end.
    pub user_id: Uuid,
    /// Application id.
    pub app_id: Uuid,
    /// 0, or the number of the AADSTS error.
    pub error_code: u32,
    /// The Authentication Events tab; absent when no listener applied.
    pub callout: Option<CalloutRecord>,
    /// Callouts before `callout`, oldest first: a sign-up has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_callouts: Vec<CalloutRecord>,
}

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Activity {
    /// Signed in.
    SignIn,
    /// Signed up.
    SignUp,
    /// Asked for a one-time code.
    SendOtp,
    /// Submitted a password.
    SubmitPassword,
    /// Recovered an account.
    RecoverAccount,
}

/// A bounded list of sign-ins.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    records: Mutex<VecDeque<SignInRecord>>,
}

impl Journal {
    pub(crate) fn add(&self, record: SignInRecord) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.truncate(CAPACITY - 1);
        records.push_front(record);
    }

    pub(crate) fn newest_first(&self) -> Vec<SignInRecord> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_newest_first() {
        let journal = Journal::default();
        for number in 0..=CAPACITY {
            journal.add(SignInRecord {
                correlation_id: Uuid::from_u128(number as u128),
                created_date_time: String::new(),
                activity: Activity::SignIn,
                user_id: Uuid::nil(),
                app_id: Uuid::nil(),
                error_code: 0,
                callout: None,
                earlier_callouts: Vec::new(),
            });
        }
        let records = journal.newest_first();
        assert_eq!(records.len(), CAPACITY);
        assert_eq!(records[0].correlation_id, Uuid::from_u128(CAPACITY as u128));
        assert_eq!(records[CAPACITY - 1].correlation_id, Uuid::from_u128(1));
    }
}
