//! Refusals in Stripe's vocabulary: type, code, decline code, message and the status that goes with
//! them, and how an error of any kind is written in one line. Rendering to JSON is in `view`; nothing
//! here knows HTTP or the database.

use crate::intent::{Intent, Status};

/// An answer that is an error, as Stripe words it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) decline_code: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, code: Option<&'static str>, message: String) -> Self {
        Self { status, kind, code, decline_code: None, message, param: None }
    }

    pub(crate) fn with_param(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    pub(crate) fn invalid(code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", code, message.into())
    }

    pub(crate) fn invalid_param(
        param: &str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::invalid(Some(code), message).with_param(param)
    }

    pub(crate) fn missing_param(param: &str) -> Self {
        let message = format!("Missing required param: {param}.");
        Self::invalid_param(param, "parameter_missing", message)
    }

    /// The request names something that is not there. 404 when the path names it.
    pub(crate) fn no_such(what: &str, id: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        // An intent's parameter goes by this name even where the path has it.
        let param = if what == "payment_intent" { "intent" } else { "id" };
        Self { status: 404, ..Self::invalid_param(param, "resource_missing", message) }
    }

    pub(crate) fn no_such_payment_method(name: &str) -> Self {
        let message = format!("No such PaymentMethod: '{name}'");
        Self::invalid_param("payment_method", "resource_missing", message)
    }

    pub(crate) fn no_such_url(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}).");
        Self { status: 404, ..Self::invalid(None, message) }
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The request body is larger than {bytes_max} bytes.");
        Self { status: 413, ..Self::invalid(None, message) }
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        Self { status: 401, ..Self::invalid(None, message) }
    }

    pub(crate) fn card_declined(
        code: &'static str,
        decline_code: &'static str,
        message: &str,
    ) -> Self {
        Self {
            decline_code: Some(decline_code),
            ..Self::new(402, "card_error", Some(code), message.to_owned())
        }
    }

    pub(crate) fn authentication_failed() -> Self {
        Self::invalid(
            Some("payment_intent_authentication_failure"),
            "The provided PaymentMethod has failed authentication. You can provide payment_method_data \
             or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
        )
    }

    /// The intent is in a state in which the operation makes no sense.
    pub(crate) fn unexpected_state(intent: &Intent, done: &str, allowed: &[Status]) -> Self {
        let allowed: Vec<&str> = allowed.iter().map(|status| status.as_str()).collect();
        let message = format!(
            "This PaymentIntent could not be {done} because it has a status of {}. \
             Only a PaymentIntent with one of the following statuses may be {done}: {}.",
            intent.status.as_str(),
            allowed.join(", "),
        );
        Self::unexpected_state_because(message)
    }

    pub(crate) fn unexpected_state_because(message: impl Into<String>) -> Self {
        Self::invalid(Some("payment_intent_unexpected_state"), message)
    }

    pub(crate) fn idempotency_mismatch(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters and the same path \
             they were first used with. Try using a key other than '{key}' if you meant to execute a \
             different request.",
        );
        Self::new(400, "idempotency_error", None, message)
    }

    pub(crate) fn idempotency_key_in_use(key: &str) -> Self {
        let message = format!(
            "There is currently another in-progress request using this Idempotency Key ('{key}'). \
             Please try again later.",
        );
        Self::new(409, "invalid_request_error", Some("idempotency_key_in_use"), message)
    }

    pub(crate) fn lock_timeout() -> Self {
        Self::new(
            429,
            "invalid_request_error",
            Some("lock_timeout"),
            "This object cannot be accessed right now because another request is currently changing it."
                .to_owned(),
        )
    }

    pub(crate) fn too_many_requests() -> Self {
        Self::new(
            429,
            "invalid_request_error",
            Some("rate_limit"),
            "Too many requests are in flight. Please retry with backoff.".to_owned(),
        )
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "api_error", None, "An unknown error occurred.".to_owned())
    }
}

/// An error with its causes, for a log.
pub(crate) fn chain_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    chain
}
