//! What is wrong with a configuration: every problem with its flag and with what would be right.
//! Never the content of a secret.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The flag, as in `--tls-cert`.
    pub flag: &'static str,
    /// What is wrong with it and what would be right.
    pub what: String,
}

impl Problem {
    /// What is wrong with this flag.
    pub fn new(flag: &'static str, what: impl Into<String>) -> Self {
        Self { flag, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flag, self.what)
    }
}

/// A URL without what may be secret in it: user, password, query. Anything else as it is.
#[must_use]
pub fn masked(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let query = rest.find(['?', '#']);
    match (rest.rfind('@'), query) {
        // A password, or a query, with the other's sign in it.
        (Some(at), Some(query)) if at > query => format!("{scheme}://***"),
        (at, query) => {
            let user = if at.is_some() { "***@" } else { "" };
            let address = &rest[at.map_or(0, |at| at + 1)..query.unwrap_or(rest.len())];
            let more = if query.is_some() { "?***" } else { "" };
            format!("{scheme}://{user}{address}{more}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_is_not_shown() {
        for (url, shown) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("redis://u:hidden@h:1/2", "redis://***@h:1/2"),
            ("redis://u:hid/den@h", "redis://***@h"),
            ("redis://u:hid?den@h", "redis://***"),
            ("redis+unix:///run/r?pass=hidden", "redis+unix:///run/r?***"),
            ("https://h/keys?code=hid@den", "https://***"),
            ("/a/file", "/a/file"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
