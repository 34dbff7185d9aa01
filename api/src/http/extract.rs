//! What handlers take from a request. Whatever cannot be taken is one of our errors, which says where
//! it stands and what is wrong with it.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
};
use domain::CustomerId;
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as FieldPath, Segment};

use crate::{
    auth::Operator,
    error::{Error, FieldError},
    service::{
        Service,
        request::{self, IdempotencyKey},
    },
};

/// The customer whose token came with the request.
pub(super) struct Caller(pub(super) CustomerId);

impl FromRequestParts<Service> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        service.caller(authorization(parts)).map(Self)
    }
}

/// The operator whose token came with the request.
pub(super) struct ByOperator(pub(super) Operator);

impl FromRequestParts<Service> for ByOperator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        service.operator(authorization(parts)).map(Self)
    }
}

fn authorization(parts: &Parts) -> Option<&str> {
    parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
}

/// The one parameter of the path. What cannot be one names nothing.
pub(super) struct Named<T>(pub(super) T);

impl<T: std::str::FromStr> FromRequestParts<Service> for Named<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        let Path(text) = Path::<String>::from_request_parts(parts, service)
            .await
            .map_err(|_| Error::Malformed("the path is not UTF-8".into()))?;
        text.parse().map(Self).map_err(|_| Error::NotFound)
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Service> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        if !says_json(request.headers()) {
            return Err(Error::UnsupportedMediaType);
        }
        let bytes = bytes(request, service).await?;
        parse(&bytes).map(Self)
    }
}

/// A body as it came, byte for byte, for whoever checks a signature over it before anything is read.
pub(super) struct RawBody(pub(super) Bytes);

impl FromRequest<Service> for RawBody {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        bytes(request, service).await.map(Self)
    }
}

/// A body where nothing needs to be said: none at all, or an empty object.
pub(super) struct NoBody;

impl FromRequest<Service> for NoBody {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}

        let json = says_json(request.headers());
        let bytes = bytes(request, service).await?;
        if !bytes.is_empty() {
            if !json {
                return Err(Error::UnsupportedMediaType);
            }
            parse::<Nothing>(&bytes)?;
        }
        Ok(Self)
    }
}

async fn bytes(request: Request, service: &Service) -> Result<Bytes, Error> {
    Bytes::from_request(request, service).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(failed)
            if failed.status() == StatusCode::PAYLOAD_TOO_LARGE =>
        {
            Error::PayloadTooLarge
        }
        _ => Error::Malformed("the body ended early".into()),
    })
}

fn says_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // The parser would take an array for an object whose fields are in order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| not_json(&error))?;
        return Err(Error::Invalid(vec![FieldError::at(
            "",
            "invalid_type",
            "the body must be an object",
        )]));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().clone();
        let error = error.into_inner();
        if error.is_data() { field_error(&path, &error) } else { not_json(&error) }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::Malformed(format!(
        "the body is not JSON at line {}, column {}",
        error.line(),
        error.column()
    ))
}

/// The longest detail about one field, in characters: it may quote what was sent.
const DETAIL_CHARS_MAX: usize = 300;

/// What the parser says, as a code and a place. It tells the kinds apart by words only.
fn field_error(path: &FieldPath, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    // Line and column are of no use to somebody who is given a pointer.
    let detail = text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail);
    let quoted = detail.split('`').nth(1);
    let mut pointer = pointer(path);
    let code = if detail.starts_with("missing field") {
        "missing_field"
    } else if detail.starts_with("duplicate field") {
        "duplicate_field"
    } else if detail.starts_with("unknown field") {
        "unknown_field"
    } else if detail.starts_with("invalid type") {
        "invalid_type"
    } else {
        "invalid_value"
    };
    if let ("missing_field" | "duplicate_field", Some(name)) = (code, quoted) {
        // Of these two the path leads only to the object.
        pointer = format!("{pointer}/{name}");
    }
    let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
    Error::Invalid(vec![FieldError::at(pointer, code, detail)])
}

fn pointer(path: &FieldPath) -> String {
    use std::fmt::Write;
    let mut pointer = String::new();
    for segment in path {
        let written = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", escaped(key)),
            Segment::Enum { variant } => write!(pointer, "/{}", escaped(variant)),
            Segment::Unknown => Ok(()),
        };
        written.expect("a string takes every character");
    }
    pointer
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The key that names this request among the caller's. Without one, or with one that cannot be, the
/// request is refused before its body is read.
pub(super) struct Key(pub(super) IdempotencyKey);

impl FromRequestParts<Service> for Key {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        let OptionalKey(key) = OptionalKey::from_request_parts(parts, service).await?;
        key.map(Self).ok_or(Error::IdempotencyKeyMissing)
    }
}

/// The same, where it may be left out.
pub(super) struct OptionalKey(pub(super) Option<IdempotencyKey>);

impl FromRequestParts<Service> for OptionalKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, Error> {
        let header = parts.headers.get("idempotency-key");
        header.map(|key| IdempotencyKey::parse(key.as_bytes())).transpose().map(Self)
    }
}

/// How long the client waits: `Prefer: wait=5`, or `respond-async` for not at all. As RFC 7240 has it,
/// a preference that makes no sense is as good as none.
pub(super) struct Wait(pub(super) std::time::Duration);

impl FromRequestParts<Service> for Wait {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, Self::Rejection> {
        Ok(Self(request::wait(preferred_seconds(&parts.headers))))
    }
}

fn preferred_seconds(headers: &HeaderMap) -> Option<u64> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| match preference.trim().split_once('=') {
            Some((name, seconds)) if name.trim().eq_ignore_ascii_case("wait") => {
                seconds.trim().trim_matches('"').parse().ok()
            }
            None if preference.trim().eq_ignore_ascii_case("respond-async") => Some(0),
            _ => None,
        })
}

/// The versions of the cart that a change may be made to (`If-Match`); none said is any.
pub(super) struct IfMatch(pub(super) Option<Vec<i64>>);

impl FromRequestParts<Service> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, Error> {
        let Some(header) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        header
            .to_str()
            .ok()
            .and_then(expected_versions)
            .ok_or_else(|| Error::Malformed("If-Match must be *, or ETags in quotes".into()))
    }
}

/// A tag that is none of ours is well-formed, and matches nothing.
fn expected_versions(header: &str) -> Option<IfMatch> {
    if header.trim() == "*" {
        return Some(IfMatch(None));
    }
    let mut versions = Vec::new();
    for tag in header.split(',').map(str::trim) {
        // If-Match compares strongly, so a weak tag matches nothing either.
        let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
        let opaque = tag.strip_prefix('"')?.strip_suffix('"')?;
        if let (false, Ok(version)) = (weak, opaque.parse()) {
            versions.push(version);
        }
    }
    Some(IfMatch(Some(versions)))
}

#[cfg(test)]
mod tests;
