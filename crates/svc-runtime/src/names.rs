//! What names and keys look like, alike in every service: topics, groups, consumers and queues;
//! subjects and ordering keys.

/// What a name must look like, for messages.
pub const NAME_RULE: &str =
    "must be 1 to 128 of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit";

/// Whether this is a name: `[a-z0-9][a-z0-9._-]{0,127}`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.as_bytes().split_first().is_some_and(|(first, rest)| {
        plain(*first)
            && rest.len() < 128
            && rest.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
    })
}

/// Whether this may be a subject or an ordering key: 1 to 256 bytes without control characters.
#[must_use]
pub fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}
