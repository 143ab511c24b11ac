//! What a directory has, and the callouts that follow from it.

use serde_json::Map;
use uuid::Uuid;

use super::{Directory, Error};
use crate::callout::{Callout, CalloutBody, Client, Event, ServicePrincipal};
use crate::config::{
    ApplicationConfig, BehaviorOnError, ClaimsMappingPolicy, Config, DirectoryConfig, ExtensionConfig, HandlerConfig,
    ListenerConfig, UserFlowConfig,
};
use crate::extension::{Encryption, Extension};
use crate::users::Users;

impl Directory {
    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn find_user_flow(&self, app_id: Uuid) -> Option<&UserFlowConfig> {
        self.user_flows.iter().find(|flow| flow.applications.contains(&app_id))
    }

    /// What happens when the listener's callout fails.
    pub(crate) fn behavior_on_error(&self, listener: &ListenerConfig) -> Option<BehaviorOnError> {
        self.handler(listener)?.behavior_on_error
    }

    fn handler(&self, listener: &ListenerConfig) -> Option<&HandlerConfig> {
        self.handlers.iter().find(|handler| handler.listener == listener.id)
    }

    /// A body without what is the event's own. The audience is the application itself.
    pub(crate) fn new_body(
        &self,
        listener: &ListenerConfig,
        application: &ApplicationConfig,
        (protocol, client): (&str, &Client),
        correlation_id: Uuid,
    ) -> CalloutBody {
        CalloutBody {
            event: listener.event,
            tenant_id: self.id(),
            listener_id: listener.id,
            extension_id: listener.extension,
            correlation_id,
            client: client.clone(),
            protocol: protocol.to_owned(),
            client_service_principal: ServicePrincipal::from(application),
            resource_service_principal: ServicePrincipal::from(application),
            request_type: None,
            user: None,
            data: Map::new(),
            oddities: self
                .handler(listener)
                .map(|handler| handler.oddities.clone())
                .unwrap_or_default(),
        }
    }

    /// By application id or display name.
    pub(crate) fn find_application(&self, name: &str) -> Option<&ApplicationConfig> {
        let id = Uuid::try_parse(name).ok();
        let mut applications = self.config.applications.iter();
        applications.find(|application| Some(application.app_id) == id || application.display_name == name)
    }

    pub(crate) fn find_listener(&self, event: Event, app_id: Uuid) -> Option<&ListenerConfig> {
        self.config
            .listeners
            .iter()
            .find(|listener| listener.event == event && listener.applications.contains(&app_id))
    }

    pub(crate) fn find_policy(&self, app_id: Uuid) -> Option<&ClaimsMappingPolicy> {
        self.config
            .claims_mapping_policies
            .iter()
            .find(|policy| policy.applications.contains(&app_id))
    }

    pub(crate) fn find_extension(&self, id: Uuid) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.config.id == id)
    }

    pub(crate) fn callout<'a>(&'a self, listener: &'a ListenerConfig, body: &'a CalloutBody) -> Callout<'a> {
        Callout {
            directory: self,
            listener,
            body,
        }
    }
}

/// The extensions, with their keys for passwords.
pub(super) fn extensions(config: &DirectoryConfig, host: &Config) -> Result<Vec<Extension>, Error> {
    let one = |extension: &ExtensionConfig| {
        let encryption = host
            .encryption
            .iter()
            .find(|encryption| encryption.extension == extension.id);
        let encryption = encryption
            .map(Encryption::new)
            .transpose()
            .map_err(|reason| Error::Encryption {
                extension: extension.id,
                reason,
            })?;
        Ok(Extension::new(extension.clone(), encryption))
    };
    config.extensions.iter().map(one).collect()
}
