//! What plugins of the two attribute collection events answer with.

use crate::events::attribute_collection_submit::AttributeError;
use crate::events::{attribute_collection_start as start, attribute_collection_submit as submit};
use crate::{AttributeValues, BlockPage};

/// What happens before the page that collects a new user's attributes is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeCollectionStart {
    /// The page is shown as it is (`continueWithDefaultBehavior`).
    Proceed,
    /// The page is shown with these values filled in (`setPrefillValues`).
    Prefill(AttributeValues),
    /// The person cannot sign up, and reads why (`showBlockPage`).
    Block(BlockPage),
}

impl From<AttributeCollectionStart> for start::Answer {
    fn from(action: AttributeCollectionStart) -> Self {
        match action {
            AttributeCollectionStart::Proceed => Self::Proceed,
            AttributeCollectionStart::Prefill(values) => Self::Prefill(values.into()),
            AttributeCollectionStart::Block(page) => Self::Block(page),
        }
    }
}

/// What happens after a new user has submitted the page that collects attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeCollectionSubmit {
    /// The account is made with what was submitted (`continueWithDefaultBehavior`).
    Proceed,
    /// The account is made with these values instead (`modifyAttributeValues`).
    Modify(AttributeValues),
    /// The page is shown again with what is wrong (`showValidationError`); what is then submitted is another callout.
    ValidationError(ValidationError),
    /// The person cannot sign up, and reads why (`showBlockPage`).
    Block(BlockPage),
}

impl From<AttributeCollectionSubmit> for submit::Answer {
    fn from(action: AttributeCollectionSubmit) -> Self {
        match action {
            AttributeCollectionSubmit::Proceed => Self::Proceed,
            AttributeCollectionSubmit::Modify(values) => Self::Modify(values.into()),
            AttributeCollectionSubmit::ValidationError(error) => Self::ValidationError(submit::ValidationError {
                message: error.message,
                attribute_errors: error.attributes,
            }),
            AttributeCollectionSubmit::Block(page) => Self::Block(page),
        }
    }
}

/// What is wrong with what a new user has submitted: a message above the page, and one beside each attribute that is
/// wrong. Only attributes of the request can be named.
///
/// ```
/// use claimsmith_plugin::ValidationError;
///
/// let mut error = ValidationError::new("Please correct the marked fields.");
/// assert!(error.is_empty());
/// error.insert("city", "Letters only");
/// assert_eq!(error.get("city"), Some("Letters only"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    message: String,
    attributes: Vec<AttributeError>,
}

impl ValidationError {
    /// A message above the page, and none beside an attribute.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            attributes: Vec::new(),
        }
    }

    /// Adds a message beside an attribute, or replaces the one there.
    #[must_use]
    pub fn with(mut self, attribute: impl Into<String>, message: impl Into<String>) -> Self {
        self.insert(attribute, message);
        self
    }

    /// Adds a message beside an attribute, or replaces the one there.
    pub fn insert(&mut self, attribute: impl Into<String>, message: impl Into<String>) {
        let name = attribute.into();
        let message = message.into();
        match self.attributes.iter_mut().find(|error| error.name == name) {
            Some(error) => error.message = message,
            None => self.attributes.push(AttributeError { name, message }),
        }
    }

    /// The message above the page.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message beside an attribute.
    #[must_use]
    pub fn get(&self, attribute: &str) -> Option<&str> {
        self.iter()
            .find_map(|(name, message)| (name == attribute).then_some(message))
    }

    /// How many attributes have a message.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether no attribute has a message.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// The messages beside attributes, as name and message.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.attributes
            .iter()
            .map(|error| (error.name.as_str(), error.message.as_str()))
    }

    /// Messages that nothing has checked: for plugins that test a host's reaction to a wrong answer.
    #[doc(hidden)]
    #[must_use]
    pub fn unchecked(message: String, attributes: impl IntoIterator<Item = (String, String)>) -> Self {
        let attributes = attributes.into_iter();
        Self {
            message,
            attributes: attributes
                .map(|(name, message)| AttributeError { name, message })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_again_replaces_the_one_beside_the_attribute() {
        let error = ValidationError::new("Look")
            .with("a", "1")
            .with("b", "2")
            .with("a", "3");
        let all: Vec<_> = error.iter().collect();
        assert_eq!(all, [("a", "3"), ("b", "2")]);
        assert_eq!((error.message(), error.len(), error.get("A")), ("Look", 2, None));
    }

    #[test]
    fn each_action_is_lowered_to_its_case() {
        let values = || AttributeValues::new().with("city", "Paris");
        let page = || BlockPage::new("Why").with_title("No");
        for (action, lowered) in [
            (AttributeCollectionStart::Proceed, start::Action::Proceed),
            (
                AttributeCollectionStart::Prefill(values()),
                start::Action::Prefill(values().into()),
            ),
            (AttributeCollectionStart::Block(page()), start::Action::Block(page())),
        ] {
            assert_eq!(start::Answer::from(action), lowered);
        }
        let error = submit::ValidationError {
            message: "Look".into(),
            attribute_errors: vec![AttributeError {
                name: "city".into(),
                message: "Letters only".into(),
            }],
        };
        for (action, lowered) in [
            (AttributeCollectionSubmit::Proceed, submit::Action::Proceed),
            (
                AttributeCollectionSubmit::Modify(values()),
                submit::Action::Modify(values().into()),
            ),
            (
                AttributeCollectionSubmit::ValidationError(ValidationError::new("Look").with("city", "Letters only")),
                submit::Action::ValidationError(error),
            ),
            (AttributeCollectionSubmit::Block(page()), submit::Action::Block(page())),
        ] {
            assert_eq!(submit::Answer::from(action), lowered);
        }
    }
}
