//! The JavaScript client of `client/`, as modules that a page of any origin can import: `/client.js` and what it imports.

use super::{Answer, text};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

/// Tells the client where its daemon is, whatever path a proxy puts before it. In a package there is none.
const SERVED: &str = "export const SOCKET = new URL(\"../ws\", import.meta.url).href;\n";

/// Every module by its path. `tests/it/client.rs` holds that nothing else is imported.
const MODULES: [(&str, &str); 7] = [
    ("/client.js", include_str!("../../client/client.js")),
    ("/client/iterate.js", include_str!("../../client/client/iterate.js")),
    ("/client/known.js", include_str!("../../client/client/known.js")),
    ("/client/protocol.js", include_str!("../../client/client/protocol.js")),
    ("/client/served.js", SERVED),
    ("/client/sse.js", include_str!("../../client/client/sse.js")),
    ("/client/websocket.js", include_str!("../../client/client/websocket.js")),
];

/// Kept by browsers for a while, then asked for anew: an upgrade of the daemon reaches pages within minutes.
const CACHING: &str = "public, max-age=300, must-revalidate";

/// Names this build's modules, all together, so that a page never mixes two versions for longer than `CACHING` says.
static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    MODULES.hash(&mut hasher);
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish())).expect("a number is plain text")
});

pub(super) fn is_module(path: &str) -> bool {
    MODULES.iter().any(|(name, _)| *name == path)
}

/// A module, or 304 to who has it. Nothing in it is secret, so pages of every origin may have it.
pub(super) fn module(path: &str, asked: &HeaderMap) -> Answer {
    let (_, source) = MODULES.iter().find(|(name, _)| *name == path).expect("`is_module` was asked before");
    let is_known = asked.get_all(header::IF_NONE_MATCH).iter().any(|known| is_among(known, &TAG));
    let mut answer = text("text/javascript; charset=utf-8", if is_known { "" } else { source });
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer.headers_mut().remove(header::CONTENT_TYPE);
    }
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHING)),
        (header::ETAG, TAG.clone()),
        // For pages that ask for isolation (Cross-Origin-Embedder-Policy).
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ] {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Whether `If-None-Match` has the tag. A proxy that compresses may have made it a weak one.
fn is_among(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    known.split(',').map(str::trim).any(|it| it == "*" || it.trim_start_matches("W/") == tag)
}
