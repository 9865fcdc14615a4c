//! The page at `/`: rooms and their live events, for a first look. Everything comes from the binary.

use super::{Answer, text};
use hyper::header::{self, HeaderName, HeaderValue};

/// Nothing but what the page itself is made of; WebSockets to where it came from. The hash is of the one script that the
/// pages hold themselves: it ends the page's path with a slash, so that relative addresses are below it.
const POLICY: &str = "default-src 'none'; script-src 'self' 'sha256-/oL4L/Q793teV1T5nxD8tki13/1VbfZJtGaXLAEpc/I='; style-src 'self'; connect-src 'self' ws: wss:; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn html() -> Answer {
    secured(include_str!("page/page.html"))
}

/// A page that may load nothing but its own.
pub(super) fn secured(html: &'static str) -> Answer {
    let mut answer = text("text/html; charset=utf-8", html);
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

pub(super) fn script() -> Answer {
    text("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

pub(super) fn style() -> Answer {
    text("text/css; charset=utf-8", include_str!("page/page.css"))
}
