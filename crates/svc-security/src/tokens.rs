//! Tokens that a file knows, kept as digests only.

use std::collections::HashMap;

use subtle::ConstantTimeEq as _;
use svc_runtime::names::is_key;
use toml::{Table, Value};

use crate::caller::Caller;
use crate::crypto::{self, Digest};

/// What a token written out has to have at least.
const LEAST_CHARACTERS: usize = 16;

/// Who has which token.
///
/// Found by the first bytes of its digest, which betray nothing of a token; then the whole digest
/// is compared in a time that does not depend on it.
#[derive(Default)]
pub(crate) struct Tokens {
    by_start: HashMap<[u8; 8], Vec<(Digest, Caller)>>,
}

impl Tokens {
    /// Reads a tokens file. `caller_of` makes the caller of a name. No error holds a value of the
    /// file: the parser's own do, so they are not passed on.
    pub(crate) fn parse(text: &str, caller_of: impl Fn(&str) -> Caller) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line} is no TOML")
        })?;
        let known = |(key, _): &(&String, &Value)| key.as_str() != "token";
        if let Some((key, _)) = table.iter().find(known) {
            return Err(format!("does not know `{key}`: tokens begin with [[token]]"));
        }
        let entries = match table.get("token") {
            Some(Value::Array(entries)) if !entries.is_empty() => entries,
            _ => return Err("has no [[token]]: nobody could call".to_owned()),
        };
        let mut tokens = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            let (caller, digest) =
                parse_entry(entry).map_err(|what| format!("token {}: {what}", index + 1))?;
            if tokens.find_digest(&digest).is_some() {
                return Err(format!("token {}: is there twice", index + 1));
            }
            let start = start_of(&digest);
            tokens.by_start.entry(start).or_default().push((digest, caller_of(&caller)));
        }
        Ok(tokens)
    }

    /// Whose token it is.
    pub(crate) fn find(&self, token: &[u8]) -> Option<&Caller> {
        self.find_digest(&crypto::sha256(&[token]))
    }

    fn find_digest(&self, digest: &Digest) -> Option<&Caller> {
        let alike = self.by_start.get(&start_of(digest))?;
        alike.iter().find(|(known, _)| known.ct_eq(digest).into()).map(|(_, caller)| caller)
    }
}

fn start_of(digest: &Digest) -> [u8; 8] {
    let mut start = [0; 8];
    start.copy_from_slice(&digest[..8]);
    start
}

fn parse_entry(entry: &Value) -> Result<(String, Digest), String> {
    let table = entry.as_table().ok_or("write it as [[token]]")?;
    let known = ["caller", "sha256", "token"];
    if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("does not know `{key}`: write caller, and sha256 or token"));
    }
    let text = |key| match table.get(key) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.as_str())),
        Some(_) => Err(format!("{key} has to be a text")),
    };
    let caller = text("caller")?.ok_or("has no caller")?;
    if !is_key(caller) {
        return Err("caller has to have 1 to 256 bytes and no control characters".to_owned());
    }
    let digest = match (text("sha256")?, text("token")?) {
        (Some(hex), None) => {
            from_hex(hex).ok_or("sha256 has to be 64 hex digits: printf %s TOKEN | sha256sum")?
        }
        (None, Some(token)) if token.len() >= LEAST_CHARACTERS && token.is_ascii() => {
            crypto::sha256(&[token.as_bytes()])
        }
        (None, Some(_)) => {
            return Err(format!(
                "token has to have at least {LEAST_CHARACTERS} ASCII characters: openssl rand -hex 32"
            ));
        }
        _ => return Err("needs either sha256 or token".to_owned()),
    };
    Ok((caller.to_owned(), digest))
}

fn from_hex(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if hex.len() != 2 * digest.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..hex.len()).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-billing";

    fn parse(text: &str) -> Result<Tokens, String> {
        Tokens::parse(text, Caller::for_test)
    }

    #[test]
    fn tokens_are_found_written_out_or_as_digest() {
        let hex = "d2b1f6b1a5ee1f1c8c7c4a0a1a3a4e42fbf3ea0dc6c5b4a6a3b3c0f9a2a1d0e9";
        let file = format!(
            "[[token]]\ncaller = \"billing\"\ntoken = \"{TOKEN}\"\n\
             [[token]]\ncaller = \"shop\"\nsha256 = \"{hex}\""
        );
        let tokens = parse(&file).unwrap();
        assert_eq!(tokens.find(TOKEN.as_bytes()).unwrap().name(), "billing");
        assert!(tokens.find(b"a-token-of-billinG").is_none());
        assert!(tokens.find(b"").is_none());
        let digest: String =
            crypto::sha256(&[b"shop-token-000001"]).iter().map(|b| format!("{b:02x}")).collect();
        let tokens =
            parse(&format!("[[token]]\ncaller = \"shop\"\nsha256 = \"{digest}\"")).unwrap();
        assert_eq!(tokens.find(b"shop-token-000001").unwrap().name(), "shop");
    }

    #[test]
    fn no_error_holds_what_the_file_holds() {
        let secret = "hidden-hidden-hidden";
        let wrong = [
            format!("token = \"{secret}\""),
            format!("[[token]]\ncaller = \"a\"\ntoken = \"{secret}\"\nsha256 = \"{secret}\""),
            format!("[[token]]\ncaller = \"a\"\nsha256 = \"{secret}\""),
            format!("[[token]]\ncaller = \"a\"\ntoken = [\"{secret}\"]"),
            format!("[[token]]\ncaller = \"a\"\ntoken = \"{secret}"),
            format!("[[token]]\ncaller = \"a\"\ntoken = {secret}"),
            format!("[[token]]\ntoken = \"{secret}\""),
            format!("[[token]]\ncaller = \"a\"\nsecret = \"{secret}\""),
            format!("[[token]]\ncaller = \"a\"\ntoken = \"{secret}\"\n").repeat(2),
            "[[token]]\ncaller = \"a\"\ntoken = \"hidden\"".to_owned(),
            String::new(),
        ];
        for text in wrong {
            let error = parse(&text).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
