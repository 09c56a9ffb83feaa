//! Heads of requests and responses as they are passed on: what belongs to one connection is taken off (RFC 9110,
//! section 7.6.1), what the SFU must know of the client is put on.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{request, response};
use hyper::{Uri, Version};

/// Header names that concern a single connection.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a message changes its connection into a websocket's, and so keeps the headers that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Websocket,
}

/// `head` as it is sent to an SFU on behalf of `client`.
pub fn to_sfu(mut head: request::Parts, kind: Kind, client: IpAddr) -> request::Parts {
    strip(&mut head.headers, kind);
    // An absolute URI (from a client that takes us for a proxy) says the host in two places; the SFU wants one.
    if head.uri.authority().is_some() {
        if let Some(host) = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
            head.headers.insert(header::HOST, host);
        }
        let path = head.uri.path_and_query().and_then(|path| path.as_str().parse::<Uri>().ok());
        head.uri = path.unwrap_or_else(|| Uri::from_static("/"));
    }
    head.version = Version::HTTP_11;
    let mut chain: Vec<&str> =
        head.headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let client = client.to_canonical().to_string();
    chain.push(&client);
    if let Ok(chain) = HeaderValue::from_str(&chain.join(", ")) {
        head.headers.insert(FORWARDED_FOR, chain);
    }
    head.headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    head
}

/// An SFU's `head` as it is sent to the client.
pub fn to_client(mut head: response::Parts, kind: Kind) -> response::Parts {
    strip(&mut head.headers, kind);
    head.version = Version::HTTP_11;
    head
}

fn strip(headers: &mut HeaderMap, kind: Kind) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let upgrade = headers.get(header::UPGRADE).cloned();
    for name in listed.iter().chain(&HOP_BY_HOP).chain([&KEEP_ALIVE, &PROXY_CONNECTION, &header::UPGRADE]) {
        // A message's length is no matter of the connection, whoever lists it there.
        if *name != header::CONTENT_LENGTH && *name != header::HOST {
            headers.remove(name);
        }
    }
    if let (Kind::Websocket, Some(upgrade)) = (kind, upgrade) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const CLIENT: &str = "192.0.2.7";

    fn sent(uri: &str, kind: Kind, headers: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = to_sfu(request.body(()).unwrap().into_parts().0, kind, CLIENT.parse().unwrap());
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut headers: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        headers.sort();
        (head.uri.to_string(), headers)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_of_the_connection_stay_with_it() {
        let headers = [
            ("Host", "calls.example"),
            ("Connection", "close, X-Secret, Host"),
            ("X-Secret", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("Accept", "*/*"),
        ];
        let expected =
            [("accept", "*/*"), ("host", "calls.example"), ("x-forwarded-for", CLIENT), ("x-forwarded-proto", "http")];
        assert_eq!(sent("/c/standup?x=1", Kind::Plain, &headers), ("/c/standup?x=1".into(), pairs(&expected)));
    }

    #[test]
    fn a_websocket_keeps_its_upgrade() {
        let headers = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k")];
        let expected = [
            ("connection", "Upgrade"),
            ("sec-websocket-key", "k"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", CLIENT),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(sent("/rtc", Kind::Websocket, &headers).1, pairs(&expected));
    }

    #[test]
    fn the_client_is_added_to_those_who_passed_the_request_on() {
        let headers = [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-Proto", "https")];
        let expected = [("x-forwarded-for", "198.51.100.1, 192.0.2.7"), ("x-forwarded-proto", "https")];
        assert_eq!(sent("/", Kind::Plain, &headers).1, pairs(&expected));
    }

    #[test]
    fn an_absolute_uri_becomes_path_and_host() {
        let expected = [("host", "calls.example"), ("x-forwarded-for", CLIENT), ("x-forwarded-proto", "http")];
        let absolute = sent("http://calls.example/rtc?a=b", Kind::Plain, &[("Host", "other")]);
        assert_eq!(absolute, ("/rtc?a=b".into(), pairs(&expected)));
    }
}
