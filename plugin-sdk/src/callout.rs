//! Reading a callout.

use crate::{Error, Result};

pub use crate::bindings::callout::{Client, Context as Callout, ServicePrincipal, User};

impl Callout {
    /// The user who signs in.
    ///
    /// # Errors
    /// [`rejected`](crate::ErrorKind::Rejected) when the callout names no user, as those of some events do.
    pub fn user(&self) -> Result<&User> {
        self.user
            .as_ref()
            .ok_or_else(|| Error::rejected("the callout names no user"))
    }

    /// Application (client) id of the application the user signs in to.
    #[must_use]
    pub fn client_app_id(&self) -> Option<&str> {
        self.client_service_principal.as_ref()?.app_id.as_deref()
    }

    /// A member of the callout that has no field here, by its dotted path, for example `user.employeeId`.
    #[must_use]
    pub fn additional(&self, path: &str) -> Option<&str> {
        self.additional
            .iter()
            .find_map(|(name, value)| (name == path).then_some(value.as_str()))
    }

    /// Any member of the callout by the path Entra names it by: `user.mail`, `client.ip`,
    /// `clientServicePrincipal.appId`, `correlationId`, `protocol`, or one of those in [`additional`](Self::additional).
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        match path {
            "correlationId" => return Some(&self.correlation_id),
            "tenantId" => return Some(&self.tenant_id),
            "authenticationEventListenerId" => self.listener_id.as_deref(),
            "customAuthenticationExtensionId" => self.extension_id.as_deref(),
            "protocol" => self.protocol.as_deref(),
            "requestType" => self.request_type.as_deref(),
            _ => self.get_nested(path),
        }
        .or_else(|| self.additional(path))
    }

    fn get_nested(&self, path: &str) -> Option<&str> {
        let (object, member) = path.split_once('.')?;
        match object {
            "user" => self.user.as_ref()?.get(member),
            "client" => self.client.as_ref()?.get(member),
            "clientServicePrincipal" => self.client_service_principal.as_ref()?.get(member),
            "resourceServicePrincipal" => self.resource_service_principal.as_ref()?.get(member),
            _ => None,
        }
    }
}

impl User {
    fn get(&self, member: &str) -> Option<&str> {
        match member {
            "id" => &self.id,
            "companyName" => &self.company_name,
            "createdDateTime" => &self.created_date_time,
            "displayName" => &self.display_name,
            "givenName" => &self.given_name,
            "mail" => &self.mail,
            "onPremisesSamAccountName" => &self.on_premises_sam_account_name,
            "onPremisesSecurityIdentifier" => &self.on_premises_security_identifier,
            "onPremisesUserPrincipalName" => &self.on_premises_user_principal_name,
            "preferredDataLocation" => &self.preferred_data_location,
            "preferredLanguage" => &self.preferred_language,
            "surname" => &self.surname,
            "userPrincipalName" => &self.user_principal_name,
            "userType" => &self.user_type,
            _ => &None,
        }
        .as_deref()
    }
}

impl Client {
    fn get(&self, member: &str) -> Option<&str> {
        match member {
            "ip" => &self.ip,
            "locale" => &self.locale,
            "market" => &self.market,
            _ => &None,
        }
        .as_deref()
    }
}

impl ServicePrincipal {
    fn get(&self, member: &str) -> Option<&str> {
        match member {
            "id" => &self.id,
            "appId" => &self.app_id,
            "appDisplayName" => &self.app_display_name,
            "displayName" => &self.display_name,
            _ => &None,
        }
        .as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn callout() -> Callout {
        Callout {
            correlation_id: "correlation".into(),
            tenant_id: "tenant".into(),
            listener_id: Some("listener".into()),
            extension_id: Some("extension".into()),
            protocol: Some("OAUTH2.0".into()),
            request_type: Some("signUp".into()),
            client: Some(Client {
                ip: Some("2001:db8::7".into()),
                ..Client::default()
            }),
            client_service_principal: Some(ServicePrincipal {
                app_id: Some("app".into()),
                ..ServicePrincipal::default()
            }),
            resource_service_principal: Some(ServicePrincipal {
                display_name: Some("Orders".into()),
                ..ServicePrincipal::default()
            }),
            user: Some(User {
                mail: Some("ada@example.org".into()),
                ..User::default()
            }),
            additional: vec![
                ("user.employeeId".into(), "7".into()),
                ("device.os".into(), "Linux".into()),
            ],
        }
    }

    #[test]
    fn every_place_of_the_callout_has_entras_path() {
        let callout = callout();
        for (path, value) in [
            ("correlationId", "correlation"),
            ("tenantId", "tenant"),
            ("authenticationEventListenerId", "listener"),
            ("customAuthenticationExtensionId", "extension"),
            ("protocol", "OAUTH2.0"),
            ("requestType", "signUp"),
            ("client.ip", "2001:db8::7"),
            ("clientServicePrincipal.appId", "app"),
            ("resourceServicePrincipal.displayName", "Orders"),
            ("user.mail", "ada@example.org"),
            ("user.employeeId", "7"),
            ("device.os", "Linux"),
        ] {
            assert_eq!(callout.get(path), Some(value), "{path}");
        }
        assert_eq!(callout.client_app_id(), Some("app"));
    }

    #[test]
    fn what_the_callout_does_not_hold_has_no_value() {
        let callout = callout();
        for path in [
            "",
            ".",
            "user",
            "user.",
            "user.id",
            "user.Mail",
            "client.mail",
            "mail",
            "device",
        ] {
            assert_eq!(callout.get(path), None, "{path}");
        }
        assert_eq!(Callout::default().get("user.mail"), None);
        assert_eq!(Callout::default().client_app_id(), None);
    }

    #[test]
    fn a_callout_without_user_is_rejected() {
        let error = Callout::default().user().cloned().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
}
