//! The page's files, embedded in the program.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// What the page may do in a browser: nothing but what it brings along, and nobody may show it inside a page of theirs,
/// where people would be led to open their microphone. Browsers that read `'self'` narrowly need websockets named.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; \
     media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// One embedded file.
struct File {
    /// Path below `/`, such as `assets/index-1a2b.js`.
    path: &'static str,
    content: &'static [u8],
    /// The same in gzip, where that is smaller.
    gzip: Option<&'static [u8]>,
}

/// Answers with the file at `path` below `/`.
pub fn serve(path: &str, request: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.path == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Names below assets/ change with their content; the others are asked for anew each time.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type(path))),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    match file.gzip {
        Some(gzip) if takes_gzip(request) => (headers, [(header::CONTENT_ENCODING, "gzip")], gzip).into_response(),
        _ => (headers, file.content).into_response(),
    }
}

/// Whether the browser takes gzip (RFC 9110, section 12.5.3): named, and not with a weight of zero.
fn takes_gzip(request: &HeaderMap) -> bool {
    let named = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|list| list.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "map" | "webmanifest") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(codings: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(codings))])
    }

    #[test]
    fn the_page_is_embedded() {
        assert_eq!(serve("index.html", &HeaderMap::new()).status(), StatusCode::OK);
        assert_eq!(serve("assets/../index.html", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        let encoding = |request: &HeaderMap| {
            serve("index.html", request)
                .headers()
                .get(header::CONTENT_ENCODING)
                .map(|coding| coding.as_bytes().to_vec())
        };
        assert_eq!(encoding(&accepts("gzip, deflate, br")).as_deref(), Some(&b"gzip"[..]));
        assert_eq!(encoding(&accepts("br;q=1.0, GZIP;q=0.5")).as_deref(), Some(&b"gzip"[..]));
        for none in ["", "br", "gzip;q=0", "identity"] {
            assert_eq!(encoding(&accepts(none)), None, "{none}");
        }
    }

    #[test]
    fn nobody_shows_the_page_inside_theirs() {
        let answer = serve("index.html", &HeaderMap::new());
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}
