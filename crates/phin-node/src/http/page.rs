//! `GET /` for a browser: the web page. It is one file without data, and reads the interface as any other client does.
//!
//! Its policy allows the script and the style that are in the file, by their hashes, and requests to the node itself; nothing
//! else. So a text from the network that became part of the page could neither run nor load anything.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};

/// Whether a client asks for a page: browsers do as a person opens the address, and other clients do not.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html")
    })
}

/// The page, or 304 if the client has it.
pub(super) fn page(headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == *ETAG));
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response(),
    };
    let headers = response.headers_mut();
    let mut insert = |name: HeaderName, value: &str| {
        // Hashes are in base 64.
        headers.insert(name, HeaderValue::from_str(value).expect("all of it is ASCII"));
    };
    insert(header::ETAG, &ETAG);
    insert(header::CACHE_CONTROL, "no-cache");
    insert(header::CONTENT_SECURITY_POLICY, &POLICY);
    insert(header::REFERRER_POLICY, "no-referrer");
    response
}

/// The hash of a text, as policies write it (CSP Level 3 §2.3.1).
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// The text between these tags, which are in the page once.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(start).expect("the page has the start tag");
    rest.split_once(end).expect("the page has the end tag").0
}

const PAGE: &str = include_str!("page.html");
static ETAG: LazyLock<String> = LazyLock::new(|| format!("\"{}\"", hash(PAGE)));
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let script = hash(between(PAGE, "<script>", "</script>"));
    let style = hash(between(PAGE, "<style>", "</style>"));
    // The icon is an image in the file.
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_browser_wants_the_page_and_others_do_not() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, expected) in
            [(chromium, true), ("Text/HTML;q=0.5", true), ("*/*", false), ("text/htmlx", false)]
        {
            assert_eq!(is_wanted(&headers(&[(header::ACCEPT, accept)])), expected, "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn the_page_has_one_script_and_one_style_and_loads_nothing() {
        for tag in ["<script", "</script>", "<style", "</style>"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        // The namespace of SVG is a name and no address.
        let text = PAGE.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "@import", "url(", " style=", " onclick"] {
            assert!(!text.contains(outside), "{outside}");
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!PAGE.contains(sink), "{sink}");
        }
    }

    #[test]
    fn the_policy_allows_what_is_in_the_file() {
        let response = page(&HeaderMap::new());
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        // `printf abc | openssl dgst -sha256 -binary | base64`
        assert_eq!(hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn a_known_page_is_not_sent_again() {
        let tag = page(&HeaderMap::new()).headers()[header::ETAG].to_str().unwrap().to_owned();
        let again = |known: &str| page(&headers(&[(header::IF_NONE_MATCH, known)])).status();
        assert_eq!(again(&tag), StatusCode::NOT_MODIFIED);
        assert_eq!(again(&format!("\"other\", {tag}")), StatusCode::NOT_MODIFIED);
        assert_eq!(again("\"other\""), StatusCode::OK);
    }
}
