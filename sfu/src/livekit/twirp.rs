//! Twirp, the protocol of LiveKit's server API: a POST for each method, protobuf or JSON both ways, errors as JSON.
//! <https://twitchtv.github.io/twirp/docs/spec_v7.html>

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

const PROTOBUF: &str = "application/protobuf";
const JSON: &str = "application/json";

/// How a request is written, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

/// Twirp's codes, as far as they are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Malformed,
    BadRoute,
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    Unimplemented,
    Unavailable,
    Internal,
}

/// An error as the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwirpError {
    pub code: Code,
    pub message: String,
}

impl TwirpError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadRoute => "bad_route",
            Self::InvalidArgument => "invalid_argument",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::BadRoute | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "code": self.code.name(), "msg": self.message });
        (self.code.status(), [(header::CONTENT_TYPE, HeaderValue::from_static(JSON))], body.to_string()).into_response()
    }
}

impl Encoding {
    /// What the request's `Content-Type` says.
    pub fn of(headers: &HeaderMap) -> Result<Self, TwirpError> {
        let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match given.split(';').next().unwrap_or_default().trim() {
            PROTOBUF => Ok(Self::Protobuf),
            JSON => Ok(Self::Json),
            other => Err(TwirpError::new(
                Code::BadRoute,
                format!("unexpected Content-Type {other:?}: it is {PROTOBUF} or {JSON}"),
            )),
        }
    }

    pub fn read<T: Message + Default + DeserializeOwned>(self, body: &Bytes) -> Result<T, TwirpError> {
        let malformed = |why: String| TwirpError::new(Code::Malformed, format!("the request cannot be read: {why}"));
        match self {
            Self::Protobuf => T::decode(body.clone()).map_err(|error| malformed(error.to_string())),
            Self::Json => serde_json::from_slice(body).map_err(|error| malformed(error.to_string())),
        }
    }

    pub fn write<T: Message + Serialize>(self, answer: &T) -> Result<Response, TwirpError> {
        let (kind, body) = match self {
            Self::Protobuf => (PROTOBUF, answer.encode_to_vec()),
            Self::Json => {
                let text = serde_json::to_vec(answer);
                (JSON, text.map_err(|error| TwirpError::new(Code::Internal, error.to_string()))?)
            }
        };
        Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response())
    }
}
