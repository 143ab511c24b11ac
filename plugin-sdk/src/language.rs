//! The language that a text for the user is written in.

use crate::Callout;

impl Callout {
    /// The languages that the user reads, the best first: that of the page, that of the account, that of the market. Tags
    /// as Entra sends them, for example `en-gb`.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        let client = self.client.as_ref();
        let page = client.and_then(|client| client.locale.as_deref());
        let account = self.user.as_ref().and_then(|user| user.preferred_language.as_deref());
        let market = client.and_then(|client| client.market.as_deref());
        [page, account, market]
            .into_iter()
            .flatten()
            .filter(|tag| !tag.is_empty())
    }
}

/// The first of the languages there are that fits one the user reads: RFC 4647, section 3.4. A range loses its last
/// subtags until it is one of them (`zh-Hant-TW`, `zh-Hant`, `zh`), before the next range is tried. Case does not matter.
///
/// ```
/// use claimsmith_plugin::language;
///
/// assert_eq!(language::lookup(["de-AT", "en"], ["en", "de"]), Some("de"));
/// assert_eq!(language::lookup(["fr"], ["en", "de"]), None);
/// ```
pub fn lookup<'r, 'l>(
    ranges: impl IntoIterator<Item = &'r str>,
    languages: impl IntoIterator<Item = &'l str, IntoIter: Clone>,
) -> Option<&'l str> {
    let languages = languages.into_iter();
    let find = |range: &str| languages.clone().find(|language| language.eq_ignore_ascii_case(range));
    ranges.into_iter().find_map(|range| {
        let mut range = range;
        loop {
            if let Some(found) = find(range) {
                return Some(found);
            }
            range = parent(range)?;
        }
    })
}

/// A range without its last subtag, and without a single letter before that, which means nothing alone.
fn parent(range: &str) -> Option<&str> {
    let (rest, _) = range.rsplit_once('-')?;
    match rest.rsplit_once('-') {
        Some((shorter, single)) if single.len() == 1 => Some(shorter),
        _ => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, User};

    #[test]
    fn a_range_loses_subtags_until_it_fits() {
        let languages = ["en", "de", "zh-Hant", "pt-BR", "x"];
        for (ranges, expected) in [
            (&["de-CH-1996"][..], Some("de")),
            (&["zh-Hant-CN-x-private1-private2"], Some("zh-Hant")),
            (&["zh-Hans-CN"], None),
            (&["PT-br"], Some("pt-BR")),
            (&["pt"], None),
            (&["fr", "pt-BR", "en"], Some("pt-BR")),
            (&["fr-FR", "es"], None),
            (&["", "-", "--"], None),
            (&[], None),
        ] {
            assert_eq!(lookup(ranges.iter().copied(), languages), expected, "{ranges:?}");
        }
    }

    #[test]
    fn the_pages_language_comes_before_the_accounts() {
        let callout = Callout {
            client: Some(Client {
                locale: Some("de-de".into()),
                market: Some("fr-fr".into()),
                ..Client::default()
            }),
            user: Some(User {
                preferred_language: Some("en-GB".into()),
                ..User::default()
            }),
            ..Callout::default()
        };
        assert!(callout.languages().eq(["de-de", "en-GB", "fr-fr"]));
        assert_eq!(Callout::default().languages().count(), 0);
    }
}
