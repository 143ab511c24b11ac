//! What claims' and attributes' values are alike in.

/// Makes an enum with `Text(String)` and `Texts(Vec<String>)` of whatever is text or several texts.
macro_rules! from_texts {
    ($type:ty) => {
        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self::Text(text.to_owned())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self::Text(text)
            }
        }

        impl From<&String> for $type {
            fn from(text: &String) -> Self {
                Self::Text(text.clone())
            }
        }

        impl From<::std::borrow::Cow<'_, str>> for $type {
            fn from(text: ::std::borrow::Cow<'_, str>) -> Self {
                Self::Text(text.into_owned())
            }
        }

        impl<T: Into<String>> From<Vec<T>> for $type {
            fn from(texts: Vec<T>) -> Self {
                Self::Texts(texts.into_iter().map(Into::into).collect())
            }
        }

        impl<T: Into<String>, const N: usize> From<[T; N]> for $type {
            fn from(texts: [T; N]) -> Self {
                Self::Texts(texts.into_iter().map(Into::into).collect())
            }
        }

        impl<T: Clone + Into<String>> From<&[T]> for $type {
            fn from(texts: &[T]) -> Self {
                Self::Texts(texts.iter().cloned().map(Into::into).collect())
            }
        }

        impl<T: Clone + Into<String>> From<&Vec<T>> for $type {
            fn from(texts: &Vec<T>) -> Self {
                texts.as_slice().into()
            }
        }
    };
}

pub(crate) use from_texts;
