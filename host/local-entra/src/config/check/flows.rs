//! Problems of user flows, handlers and encryption.

use std::collections::HashSet;

use super::{Check, Place};
use crate::callout::Event;
use crate::config::{Config, DirectoryConfig, DirectoryKind, HandlerConfig, UserFlowConfig};

impl Check {
    pub(super) fn flows(&mut self, config: &Config, root: &Place) {
        for (index, flow) in config.user_flows.iter().enumerate() {
            self.user_flow(flow, &config.directories, &root.item("user_flows", index));
        }
        self.unique(
            root,
            "handlers",
            "listener",
            config.handlers.iter().map(|handler| handler.listener),
        );
        for (index, handler) in config.handlers.iter().enumerate() {
            self.handler(handler, &config.directories, &root.item("handlers", index));
        }
        self.unique(
            root,
            "encryption",
            "extension",
            config.encryption.iter().map(|entry| entry.extension),
        );
        for (index, encryption) in config.encryption.iter().enumerate() {
            let known = config
                .directories
                .iter()
                .flat_map(|directory| &directory.extensions)
                .any(|extension| extension.id == encryption.extension);
            if !known {
                self.report(
                    root.item("encryption", index).member("extension"),
                    format!("no directory has an extension {}", encryption.extension),
                );
            }
        }
    }

    /// An event must be one that directories of the kind have.
    pub(super) fn event_of_kind(&mut self, event: Event, kind: DirectoryKind, place: &Place) {
        if event.directory_kind().is_some_and(|needed| needed != kind) {
            self.report(
                place.member("event"),
                format!("{event} does not happen in a directory of this `kind`"),
            );
        }
    }

    fn user_flow(&mut self, flow: &UserFlowConfig, directories: &[DirectoryConfig], place: &Place) {
        let Some(directory) = directories.iter().find(|directory| directory.id == flow.directory) else {
            self.report(place.member("directory"), "there is no directory with this id");
            return;
        };
        if directory.kind != DirectoryKind::External {
            self.report(place.member("directory"), "only external directories have user flows");
        }
        self.known_applications(&flow.applications, directory, place);
        let mut names = HashSet::new();
        for (index, attribute) in flow.attributes.iter().enumerate() {
            let place = place.item("attributes", index);
            if attribute.name.is_empty() || !names.insert(&attribute.name) {
                self.report(place.member("name"), "is empty, or another attribute has it");
            }
            if let Some(default) = &attribute.default
                && !attribute.value_type.accepts(default)
            {
                self.report(
                    place.member("default"),
                    format!("is not {}", attribute.value_type.expected()),
                );
            }
        }
    }

    fn handler(&mut self, handler: &HandlerConfig, directories: &[DirectoryConfig], place: &Place) {
        let mut listeners = directories.iter().flat_map(|directory| &directory.listeners);
        match listeners.find(|listener| listener.id == handler.listener) {
            None => self.report(place.member("listener"), "there is no listener with this id"),
            Some(listener) if handler.behavior_on_error.is_some() && listener.event != Event::EmailOtpSend => {
                self.report(
                    place.member("behavior_on_error"),
                    format!(
                        "only emailOtpSend has a fallback, the listener is for {}",
                        listener.event
                    ),
                );
            }
            Some(_) => {}
        }
    }
}
