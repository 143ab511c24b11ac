//! From the claims of several bindings to the claims of one answer.

use std::collections::{HashMap, HashSet};

use claimsmith_catalog::{Composition, Merge};
use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};

/// What one binding answered.
pub(crate) struct Part<'n> {
    /// The plugin's name.
    pub(crate) plugin: &'n str,
    pub(crate) claims: Vec<Claim>,
}

/// A claim that two bindings answer, where nothing says whose it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "claim `{claim}` is answered by `{first}` (bindings[{}]) and by `{second}` (bindings[{}]); say with `merge` or \
     `merge_claims` of the extension whose it is, or leave it out of one of them",
    places.0,
    places.1
)]
pub(crate) struct Conflict {
    claim: String,
    first: String,
    second: String,
    places: (usize, usize),
}

/// The claims of all parts, which are in the order of the bindings. Each part answers a claim once.
///
/// # Errors
/// A claim that several answer, and that may have one answer alone.
pub(crate) fn merge(parts: Vec<Part<'_>>, rules: &Composition) -> Result<Vec<Claim>, Conflict> {
    let mut parts = parts;
    if parts.len() == 1 {
        return Ok(parts.pop().map(|part| part.claims).unwrap_or_default());
    }
    let mut merged: Vec<Claim> = Vec::new();
    // By id: where in `merged`, and which part it came from first.
    let mut known: HashMap<String, (usize, usize)> = HashMap::new();
    let plugins: Vec<_> = parts.iter().map(|part| part.plugin).collect();
    let all = parts.into_iter().enumerate();
    for (place, claim) in all.flat_map(|(place, part)| part.claims.into_iter().map(move |claim| (place, claim))) {
        let Some((index, of)) = known.get(&claim.id).copied() else {
            known.insert(claim.id.clone(), (merged.len(), place));
            merged.push(claim);
            continue;
        };
        let Some(before) = merged.get_mut(index) else { continue };
        match rules.merge(&claim.id) {
            Merge::Error => {
                let name = |place: usize| plugins.get(place).copied().unwrap_or_default().to_owned();
                return Err(Conflict {
                    // Ids are the plugins': cut, and without control characters.
                    claim: claim.id.chars().take(64).flat_map(char::escape_debug).collect(),
                    first: name(of),
                    second: name(place),
                    places: (of, place),
                });
            }
            Merge::First => {}
            Merge::Last => before.value = claim.value,
            Merge::Append => append(&mut before.value, claim.value),
        }
    }
    Ok(merged)
}

/// Makes one array of both, each value once.
fn append(to: &mut ClaimValue, value: ClaimValue) {
    let texts = |value| match value {
        ClaimValue::Text(text) => vec![text],
        ClaimValue::Texts(texts) => texts,
    };
    let before = std::mem::replace(to, ClaimValue::Texts(Vec::new()));
    let mut seen = HashSet::new();
    let all = texts(before).into_iter().chain(texts(value));
    *to = ClaimValue::Texts(all.filter(|text| seen.insert(text.clone())).collect());
}

#[cfg(test)]
mod tests {
    use claimsmith_catalog::{Composition, Merge};
    use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};

    use super::{Part, merge};

    fn text(id: &str, value: &str) -> Claim {
        Claim {
            id: id.to_owned(),
            value: ClaimValue::Text(value.to_owned()),
        }
    }

    fn texts(id: &str, values: &[&str]) -> Claim {
        Claim {
            id: id.to_owned(),
            value: ClaimValue::Texts(values.iter().map(|value| (*value).to_owned()).collect()),
        }
    }

    fn rules(merge: Merge, of: &[(&str, Merge)]) -> Composition {
        Composition {
            merge,
            merge_claims: of.iter().map(|(id, merge)| ((*id).to_owned(), *merge)).collect(),
            ..Composition::default()
        }
    }

    fn parts(all: &[&[Claim]]) -> Vec<Part<'static>> {
        let names = ["one", "two", "three"].iter();
        names
            .zip(all)
            .map(|(plugin, claims)| Part {
                plugin,
                claims: claims.to_vec(),
            })
            .collect()
    }

    #[test]
    fn claims_that_differ_are_all_there_in_order() {
        let merged = merge(
            parts(&[&[text("b", "1")], &[text("a", "2")]]),
            &rules(Merge::Error, &[]),
        );
        assert_eq!(merged, Ok(vec![text("b", "1"), text("a", "2")]));
        // Ids differ by case, as in Entra's claims mapping policies.
        assert!(
            merge(
                parts(&[&[text("a", "1")], &[text("A", "2")]]),
                &rules(Merge::Error, &[])
            )
            .is_ok()
        );
    }

    #[test]
    fn a_conflict_names_the_claim_and_both_plugins_also_for_equal_values() {
        let all = parts(&[&[text("x", "1")], &[text("tier", "gold")], &[text("tier", "gold")]]);
        let message = merge(all, &rules(Merge::Error, &[])).unwrap_err().to_string();
        for expected in ["`tier`", "`two` (bindings[1])", "`three` (bindings[2])", "merge_claims"] {
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_claims_own_rule_comes_before_the_extensions() {
        let all = [
            &[text("a", "1"), text("b", "1"), text("c", "1")][..],
            &[text("c", "2"), text("b", "2"), text("a", "2")],
            &[texts("c", &["3", "1"])],
        ];
        let rules = rules(Merge::First, &[("b", Merge::Last), ("c", Merge::Append)]);
        let expected = vec![text("a", "1"), text("b", "2"), texts("c", &["1", "2", "3"])];
        assert_eq!(merge(parts(&all), &rules), Ok(expected));
    }

    #[test]
    fn one_bindings_claims_are_handed_on_as_they_are() {
        let twice = [text("a", "1"), text("a", "2")];
        assert_eq!(merge(parts(&[&twice]), &rules(Merge::Error, &[])), Ok(twice.to_vec()));
        assert_eq!(merge(Vec::new(), &rules(Merge::Error, &[])), Ok(Vec::new()));
    }
}
