//! Makes roles of the groups that a user has in an LDAP directory.
//!
//! See the README for the settings.

mod group;
mod settings;

use claimsmith_plugin::directory::Entry;
use claimsmith_plugin::{Callout, Claims, Context as _, Result, log};

use crate::group::Group;
use crate::settings::{Groups, Settings};

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    callout.user()?;
    let groups = match find_user(callout, settings)? {
        Some(user) => groups_of(&user, settings).context("groups")?,
        None => Vec::new(),
    };
    let roles = settings.roles_of(&groups);
    log::debug!(groups = groups.len(), roles = roles.len(); "groups found");
    Ok(Claims::new().with(&settings.claim, roles))
}

/// The user's entry; `None` if Entra does not know what the filter looks for, or the directory does not know the user.
fn find_user(callout: &Callout, settings: &Settings) -> Result<Option<Entry>> {
    let mut search = settings.directory.search(&settings.user.filter);
    for name in settings.user.members() {
        let known = callout.get(&format!("user.{name}")).filter(|value| !value.is_empty());
        let Some(value) = known else {
            log::debug!(member = name; "the user has no such member, and is not looked for");
            return Ok(None);
        };
        search = search.argument(name, value);
    }
    if let Some(base) = &settings.user.base {
        search = search.base(base);
    }
    let attributes = match &settings.groups {
        Groups::MemberOf(attribute) => Some(attribute.as_str()),
        Groups::Search(search) => search.member.as_deref(),
    };
    let user = search.attributes(attributes).one().context("the user")?;
    if user.is_none() {
        log::debug!("the directory does not know the user");
    }
    Ok(user)
}

fn groups_of(user: &Entry, settings: &Settings) -> Result<Vec<Group>> {
    let search = match &settings.groups {
        Groups::MemberOf(attribute) => return Ok(user.texts(attribute).map(Group::new).collect()),
        Groups::Search(search) => search,
    };
    let member = match &search.member {
        Some(attribute) => user.text(attribute),
        None => Some(user.dn()),
    };
    let Some(member) = member else { return Ok(Vec::new()) };
    let mut asked = settings.directory.search(&search.filter).argument("member", member);
    if let Some(base) = &search.base {
        asked = asked.base(base);
    }
    let groups = asked.attributes(search.name.as_deref()).entries()?;
    Ok(match &search.name {
        Some(name) => groups
            .iter()
            .flat_map(|group| group.texts(name))
            .map(Group::new)
            .collect(),
        None => groups.iter().map(|group| Group::new(group.dn())).collect(),
    })
}

#[cfg(test)]
mod tests;
