//! Pages of lists: sizes and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::check::Checks;

const DEFAULT: usize = 100;
const MOST: usize = 1_000;

/// Which page is asked for.
#[derive(Debug)]
pub struct PageOf {
    /// How many at most.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// Checks `page_size` and `page_token`.
pub fn page(checks: &mut Checks, size: i32, token: &str) -> Option<PageOf> {
    let limit = match usize::try_from(size) {
        Ok(0) => Some(DEFAULT),
        Ok(size) => Some(size.min(MOST)),
        Err(_) => {
            checks.wrong("page_size", "must not be negative");
            None
        }
    };
    let after = if token.is_empty() {
        None
    } else {
        let text =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if text.is_none() {
            checks.wrong("page_token", "must be the next_page_token of the page before");
        }
        text
    };
    Some(PageOf { limit: limit?, after })
}

/// The token of the next page.
pub fn token(next: Option<String>) -> String {
    next.map(|next| URL_SAFE_NO_PAD.encode(next)).unwrap_or_default()
}
