//! One authenticated API request, read completely and within limits before anyone looks at it.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Bytes, to_bytes},
    extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};

use super::error_response;
use crate::{
    app::App,
    connection::Cut,
    error::ApiError,
    fault::{Fault, Operation},
    form::Form,
    idempotency::Key,
};

const BODY_BYTES_MAX: usize = 64 * 1024;
const ID_BYTES_MAX: usize = 255;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const FAULT_HEADER: &str = "paysim-fault";
const KEY_HEADER: &str = "idempotency-key";

pub(super) struct Call {
    parts: Parts,
    /// The query of a GET, the body of a POST.
    pub(super) form: Form,
    pub(super) cut: Cut,
    /// Kept until the response is ready.
    pub(super) place: OwnedSemaphorePermit,
}

impl FromRequest<Arc<App>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        Self::read(request, app).await.map_err(|error| error_response(&error))
    }
}

/// The id in a path. One that no object can have is not found, whatever bytes it is made of.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) if id.len() <= ID_BYTES_MAX && !id.contains('\0') => Ok(Self(id)),
            Ok(_) | Err(_) => {
                Err(error_response(&ApiError::no_such_url(parts.method.as_str(), parts.uri.path())))
            }
        }
    }
}

impl Call {
    async fn read(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        authenticate(&parts.headers, app.api_key.as_deref())?;
        let place = Arc::clone(&app.places)
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many_requests())?;
        let body = timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX))
            .await
            .map_err(|_| ApiError::invalid(None, "The request body did not arrive in time."))?
            .map_err(|_| ApiError::too_large(BODY_BYTES_MAX))?;
        let form = form(&parts, &body)?;
        let ConnectInfo(cut) = parts
            .extensions
            .remove::<ConnectInfo<Cut>>()
            .expect("the router is served with connect info");
        if !app.latency.is_zero() {
            sleep(app.latency).await;
        }
        Ok(Self { parts, form, cut, place })
    }

    pub(super) fn key(&self) -> Result<Option<Key>, ApiError> {
        self.parts
            .headers
            .get(KEY_HEADER)
            .map(|value| Key::parse(value.as_bytes(), self.parts.uri.path(), &self.form))
            .transpose()
    }

    /// The fault the request itself asks for.
    pub(super) fn fault(&self, operations: &[Operation]) -> Result<Option<Fault>, ApiError> {
        let Some(value) = self.parts.headers.get(FAULT_HEADER) else {
            return Ok(None);
        };
        let text = value.to_str().unwrap_or_default();
        text.parse()
            .and_then(|fault: Fault| fault.possible_for(operations))
            .map(Some)
            .map_err(|error| ApiError::invalid(None, format!("Paysim-Fault: {error}")))
    }
}

fn form(parts: &Parts, body: &Bytes) -> Result<Form, ApiError> {
    if body.is_empty() {
        return Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
    }
    let form_encoded = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if !form_encoded {
        let message = "Invalid request (check that your POST content type is \
                       application/x-www-form-urlencoded).";
        return Err(ApiError::invalid(None, message));
    }
    Form::parse(body)
}

/// Any test key will do: `Bearer KEY`, or `Basic` with the key as the user's name.
fn authenticate(headers: &HeaderMap, api_key: Option<&str>) -> Result<(), ApiError> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return Err(ApiError::unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization \
             header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        ));
    };
    let text = header.to_str().unwrap_or_default();
    let (scheme, credentials) = text.split_once(' ').unwrap_or_default();
    let key = if scheme.eq_ignore_ascii_case("bearer") {
        credentials.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64_STANDARD.decode(credentials.trim()).unwrap_or_default();
        let text = String::from_utf8(decoded).unwrap_or_default();
        text.split(':').next().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    if key.len() > "sk_test_".len() && key.starts_with("sk_test_") || Some(&*key) == api_key {
        return Ok(());
    }
    // A wrong key may be a real one in the wrong place, so it is not repeated.
    Err(ApiError::unauthorized("Invalid API Key provided."))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accepted(authorization: &str, api_key: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(authorization).expect("a valid header");
        headers.insert(header::AUTHORIZATION, value);
        authenticate(&headers, api_key).is_ok()
    }

    #[test]
    fn test_keys_and_the_configured_key_open_the_door() {
        assert!(accepted("Bearer sk_test_1", None));
        assert!(accepted("bearer sk_test_1", None));
        let basic = BASE64_STANDARD.encode("sk_test_1:");
        assert!(accepted(&format!("Basic {basic}"), None));
        assert!(accepted("Bearer mine", Some("mine")));
    }

    #[test]
    fn other_keys_do_not() {
        for bad in
            ["", "Bearer", "Bearer ", "Bearer sk_test_", "Bearer sk_live_1", "Basic !", "Digest x"]
        {
            assert!(!accepted(bad, None), "{bad}");
            assert!(!accepted(bad, Some("mine")), "{bad}");
        }
        assert!(authenticate(&HeaderMap::new(), None).is_err());
    }
}
