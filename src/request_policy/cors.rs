//! Headers that let pages read answers across origins (CORS).

use super::origin::is_allowed;
use crate::config::OriginPattern;
use hyper::header::{self, HeaderMap, HeaderValue};

/// For how long a browser need not ask again, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Headers that let the page of a request read its answer (CORS), cookies and `Authorization` included.
///
/// Empty without exactly one `Origin`. The caller has checked that the origin is allowed.
pub fn cors(request: &HeaderMap) -> HeaderMap {
    let mut answer = HeaderMap::new();
    let mut origins = request.get_all(header::ORIGIN).iter();
    if let (Some(origin), None) = (origins.next(), origins.next()) {
        // Never `*`: browsers refuse it together with credentials.
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        answer.insert(header::VARY, HeaderValue::from_name(header::ORIGIN));
    }
    answer
}

/// Headers that let the page of a request read its answer or refusal, if pages of its origin are allowed.
pub fn cors_if_allowed(request: &HeaderMap, patterns: &[OriginPattern]) -> HeaderMap {
    let mut answer = cors(request);
    let origin = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).and_then(|origin| origin.to_str().ok());
    if !origin.is_some_and(|origin| is_allowed(origin, patterns)) {
        return HeaderMap::new();
    }
    answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_name(header::RETRY_AFTER));
    answer
}

/// Headers that answer a preflight, beside those of [`cors`]: the page may use `methods`, and send every header it asked for.
///
/// No answer depends on a header that only an allowed page could send, so none is withheld.
pub fn preflight(request: &HeaderMap, methods: HeaderValue) -> HeaderMap {
    let mut answer = HeaderMap::new();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check_headers(answer: &HeaderMap, expected: &[(&'static str, &str)]) {
        assert_eq!(answer, &headers(expected));
    }

    #[test]
    fn pages_of_allowed_origins_may_send_credentials() {
        let page = [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("vary", "origin"),
        ];
        check_headers(&cors(&headers(&[("origin", "https://app.example")])), &page);
        check_headers(&cors(&headers(&[])), &[]);
        check_headers(&cors(&headers(&[("origin", "https://app.example"), ("origin", "null")])), &[]);
    }

    #[test]
    fn only_pages_of_allowed_origins_read_why_they_were_refused() {
        let refused = |origin, patterns: &[OriginPattern]| {
            let answer = cors_if_allowed(&headers(&[("origin", origin)]), patterns);
            answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|origin| origin.to_str().unwrap().to_owned())
        };
        assert_eq!(refused("http://localhost:1", &[OriginPattern::Local]).unwrap(), "http://localhost:1");
        assert_eq!(refused("https://evil.example", &[OriginPattern::Local]), None);
        assert_eq!(refused("null", &[OriginPattern::Any]).unwrap(), "null");
        let answer = cors_if_allowed(&headers(&[("origin", "http://localhost")]), &[OriginPattern::Local]);
        assert_eq!(answer["access-control-expose-headers"], "retry-after");
        assert_eq!(answer["access-control-allow-credentials"], "true");
    }

    #[test]
    fn preflights_grant_the_headers_that_a_page_asks_for() {
        let methods = HeaderValue::from_static("GET");
        let asked = [("access-control-request-headers", "authorization,last-event-id,x-tenant")];
        let granted = [
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-headers", asked[0].1),
            ("access-control-max-age", "600"),
        ];
        check_headers(&preflight(&headers(&asked), methods.clone()), &granted);
        check_headers(&preflight(&headers(&[]), methods), &[granted[0], granted[2]]);
    }
}
