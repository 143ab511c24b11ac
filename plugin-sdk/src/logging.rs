//! Carries what the crate `log` is given, and panics, to the host's log.

use std::borrow::Cow;
use std::panic::PanicHookInfo;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

use crate::bindings::log::{Field, Level};
use crate::host;

/// Called first in every export. An instance usually serves one call, so nothing was installed before.
pub(crate) fn install() {
    // Fails when an earlier call has installed it, or the plugin one of its own, which then is what it wants.
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
    std::panic::set_hook(Box::new(log_panic));
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = record
            .args()
            .as_str()
            .map_or_else(|| record.args().to_string().into(), Cow::Borrowed);
        host::log(level(record.level()), &message, &fields(record));
    }

    fn flush(&self) {}
}

const fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

fn fields(record: &Record<'_>) -> Vec<Field> {
    let mut fields = Fields(Vec::new());
    // Collecting never fails; a source of the plugin's own that does has given what it could.
    drop(record.key_values().visit(&mut fields));
    fields.0
}

struct Fields(Vec<Field>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push(Field {
            key: key.as_str().to_owned(),
            value: value.to_string(),
        });
        Ok(())
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(|location| Field {
        key: "location".to_owned(),
        value: location.to_string(),
    });
    host::log(Level::Error, &format!("panicked: {message}"), location.as_slice());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pairs_of_a_record_are_its_fields() {
        let pairs = [("tier", Value::from("gold")), ("count", Value::from(3))];
        let record = Record::builder().key_values(&pairs).build();
        let fields: Vec<_> = fields(&record)
            .into_iter()
            .map(|field| (field.key, field.value))
            .collect();
        assert_eq!(fields, [("tier".into(), "gold".into()), ("count".into(), "3".into())]);
    }

    #[test]
    fn every_level_has_its_own() {
        for (of_log, of_host) in [
            (log::Level::Error, Level::Error),
            (log::Level::Warn, Level::Warn),
            (log::Level::Info, Level::Info),
            (log::Level::Debug, Level::Debug),
            (log::Level::Trace, Level::Trace),
        ] {
            assert_eq!(level(of_log), of_host);
        }
    }
}
