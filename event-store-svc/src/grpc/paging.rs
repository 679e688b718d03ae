//! Pages of lists: sizes and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use svc_runtime::checks::Checks;

/// Which page is asked for.
#[derive(Debug)]
pub struct PageOf {
    /// How many at most.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// Checks `page_size` and `page_token`.
pub fn page(checks: &mut Checks, size: i32, token: &str) -> PageOf {
    let after = |token: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok();
    PageOf { limit: checks.page_size(size), after: checks.page_token(token, after) }
}

/// The token of the next page.
pub fn token(next: Option<String>) -> String {
    next.map(|next| URL_SAFE_NO_PAD.encode(next)).unwrap_or_default()
}
