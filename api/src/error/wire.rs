//! How an error is written: a problem document over HTTP, a status with details over gRPC.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Entry, Error, unsold_detail, unsold_entry, unsold_members};
use crate::RETRY_AFTER_SECONDS;

/// A problem as clients see it (RFC 9457). By its code, further members are there.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// `urn:holdfast:problem:` and the code.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// For people; the same for every problem of this code.
    pub(crate) title: &'static str,
    /// The HTTP status.
    #[schema(example = 409)]
    pub(crate) status: u16,
    /// For people; about this one.
    pub(crate) detail: String,
    /// The stable code.
    #[schema(example = "out_of_stock")]
    pub(crate) code: &'static str,
    /// What this code carries, such as `errors`, `lines`, `checkout_id`, `state`.
    #[serde(flatten)]
    #[schema(value_type = Object, additional_properties)]
    pub(crate) members: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(entry: Entry, detail: String, members: Map<String, Value>) -> Self {
        Self {
            kind: format!("urn:holdfast:problem:{}", entry.code),
            title: entry.title,
            status: entry.status.as_u16(),
            detail,
            code: entry.code,
            members,
        }
    }
}

impl From<&domain::Problem> for Problem {
    fn from(problem: &domain::Problem) -> Self {
        Self::new(unsold_entry(problem), unsold_detail(problem), unsold_members(problem))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).expect("the table holds statuses");
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Unavailable(_) | Self::Overloaded => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            Self::Throttled { retry_after_s } => {
                headers.insert(header::RETRY_AFTER, retry_after_s.into());
            }
            _ => {}
        }
        response
    }
}

/// The longest member that is sent along as gRPC metadata, in bytes: HTTP/2 peers limit headers.
const GRPC_MEMBER_BYTES_MAX: usize = 3000;

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        error.log();
        let Entry { code, grpc, .. } = error.entry();
        let metadata =
            text_members(error.members()).filter(|(_, text)| text.len() <= GRPC_MEMBER_BYTES_MAX);
        crate::grpc::status(grpc, &error.detail(), code, metadata)
    }
}

/// A problem's members as text; what is not text is JSON.
pub(crate) fn text_members(members: Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    members.into_iter().map(|(name, value)| match value {
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    })
}
