//! The files of the page, as they are in `domain-svcs/page`. They are served
//! from the program itself, to be asked for again each time and sent only when
//! they changed; what a browser may do with them is said as strictly as it goes.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

/// Nothing from elsewhere, nothing inline, no frames around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! files {
    ($($route:literal $kind:ident $file:literal,)*) => {
        [$(($route, $kind, include_bytes!(concat!("../../../page/", $file)).as_slice()),)*]
    };
}

/// Route, type, and file.
const FILES: &[(&str, &str, &[u8])] = &files![
    "/" HTML "index.html",
    "/page/base.css" CSS "base.css",
    "/page/diagram.js" SCRIPT "diagram.js",
    "/page/dom.js" SCRIPT "dom.js",
    "/page/events.js" SCRIPT "events.js",
    "/page/feed.js" SCRIPT "feed.js",
    "/page/health.js" SCRIPT "health.js",
    "/page/icon.svg" PICTURE "icon.svg",
    "/page/main.js" SCRIPT "main.js",
    "/page/order.js" SCRIPT "order.js",
    "/page/parts.css" CSS "parts.css",
    "/page/play.js" SCRIPT "play.js",
    "/page/rest.js" SCRIPT "rest.js",
    "/page/scenario.js" SCRIPT "scenario.js",
    "/page/shop.js" SCRIPT "shop.js",
    "/page/tables.js" SCRIPT "tables.js",
    "/page/words.js" SCRIPT "words.js",
];

/// A file, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct File {
    headers: HeaderMap,
    tag: HeaderValue,
    content: &'static [u8],
}

/// Every file with its route.
pub(super) fn all() -> impl Iterator<Item = (&'static str, File)> {
    FILES.iter().map(|(route, kind, content)| (*route, File::new(kind, content)))
}

impl File {
    fn new(kind: &'static str, content: &'static [u8]) -> Self {
        let tag = format!("\"{}\"", Uuid::new_v5(&Uuid::NAMESPACE_OID, content).simple());
        // Hexadecimal digits in quotes are a header's value always.
        let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
        let constant = [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ];
        let mut headers: HeaderMap = constant
            .into_iter()
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect();
        headers.insert(header::ETAG, tag.clone());
        Self { headers, tag, content }
    }

    /// The file, unless the one who asks has it already.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| *known == self.tag);
        if known {
            (StatusCode::NOT_MODIFIED, self.headers.clone()).into_response()
        } else {
            (self.headers.clone(), self.content).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_nothing_comes_from_elsewhere() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut there = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            there.insert(std::fs::read(entry.unwrap().path()).unwrap());
        }
        let served: BTreeSet<_> = FILES.iter().map(|(_, _, content)| content.to_vec()).collect();
        assert_eq!(served.len(), FILES.len(), "a file is served twice");
        assert!(served == there, "files in page/ and files served differ");
        for (route, _, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            for foreign in ["https://", "http://"] {
                let text = text.replace("http://www.w3.org/", "");
                assert!(!text.contains(foreign), "{route} names another host");
            }
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let (_, file) = all().next().unwrap();
        let first = file.answer(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let tag = first.headers()[header::ETAG].clone();
        let asked = |tag| HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(file.answer(&asked(tag)).status(), StatusCode::NOT_MODIFIED);
        let other = HeaderValue::from_static("\"other\"");
        assert_eq!(file.answer(&asked(other)).status(), StatusCode::OK);
    }
}
