//! The connection to the provider: configuration, one exchange of request and answer, and the line
//! between refused and unknown as far as HTTP draws it. Which calls there are stands in `calls`.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    RequestBuilder, Response,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect, retry,
};
use rustls::crypto::CryptoProvider;
use tracing::debug;
use url::Url;

use crate::{
    ANSWER_BYTES_MAX, API_VERSION, Doubt, Error,
    wire::{self, Unreadable},
};

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
/// Set by the provider on an answer that it only repeats from an earlier request with the same key.
const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// The error types that are about the request or the card. All others are about the moment.
const DEFINITE_KINDS: [&str; 2] = ["card_error", "invalid_request_error"];
/// Codes that are about the moment, whatever type and status they come with.
const PASSING_CODES: [&str; 3] = ["idempotency_key_in_use", "lock_timeout", "rate_limit"];

/// The longest text of the provider's that is passed on.
const TEXT_CHARS_MAX: usize = 300;

/// Where the provider is and how to speak to it.
#[derive(Clone)]
pub struct Config {
    /// The provider's root, such as `https://api.stripe.com`; a path in it is kept. Over `http` the
    /// key travels in the clear, which is for a simulator on a private network only.
    pub base_url: Url,
    /// The secret key.
    pub api_key: String,
    /// The longest a call may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    /// Where the provider sends customers back to after 3-D Secure. Stripe itself gives a page to send
    /// them to only if it knows the way back.
    pub return_url: Option<Url>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base_url", &self.base_url.as_str())
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The base URL cannot be called.
    #[error(
        "the provider's base URL must be http or https, without credentials, query or fragment"
    )]
    BaseUrl,
    /// The key cannot be sent.
    #[error("the provider's API key must be visible ASCII characters")]
    ApiKey,
    /// Nobody installed a TLS crypto provider.
    #[error("no TLS crypto provider is installed in this process")]
    NoTlsProvider,
    /// The HTTP client could not be built; without the system's root certificates, for one.
    #[error("the HTTP client cannot be built")]
    Http(#[source] reqwest::Error),
}

/// The card provider. Clones are cheap and share their connections.
#[derive(Clone)]
pub struct Stripe {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// Ends in a slash, so that joining keeps its path.
    base_url: Url,
    timeout: Duration,
    /// Kept only to blot it out of whatever the provider says.
    api_key: String,
    return_url: Option<Url>,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe")
            .field("base_url", &self.inner.base_url.as_str())
            .finish_non_exhaustive()
    }
}

/// A 200 with its body.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// Whether it is what an earlier request with this key was told, and may be out of date.
    pub(crate) replayed: bool,
}

impl Stripe {
    /// Prepares the client; connects to nothing yet.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        // reqwest would panic where this answers.
        if CryptoProvider::get_default().is_none() {
            return Err(SetupError::NoTlsProvider);
        }
        let Config { base_url, api_key, timeout, connect_timeout, return_url } = config;
        let http = reqwest::Client::builder()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(&api_key)?)
            .timeout(timeout)
            .connect_timeout(connect_timeout)
            // Following one could repeat a request elsewhere, key and all.
            .redirect(redirect::Policy::none())
            // Whoever calls decides on trying again, and looks first.
            .retry(retry::never())
            .build()
            .map_err(SetupError::Http)?;
        let base_url = rooted(base_url)?;
        Ok(Self { inner: Arc::new(Inner { http, base_url, timeout, api_key, return_url }) })
    }

    pub(crate) fn return_url(&self) -> Option<&Url> {
        self.inner.return_url.as_ref()
    }

    /// Does something, under a key that makes the provider do it once.
    pub(crate) async fn post(
        &self,
        call: &'static str,
        path: &str,
        key: &str,
        form: &[(&str, String)],
    ) -> Result<Answer, Error> {
        let request =
            self.inner.http.post(self.url(path)).header("idempotency-key", key).form(form);
        self.exchange(call, request).await
    }

    /// Looks at something, within a shorter time than other calls if one is given.
    pub(crate) async fn get(
        &self,
        call: &'static str,
        path: &str,
        query: &[(&str, String)],
        within: Option<Duration>,
    ) -> Result<Answer, Error> {
        let mut request = self.inner.http.get(self.url(path)).query(query);
        if let Some(within) = within {
            request = request.timeout(within.min(self.inner.timeout));
        }
        self.exchange(call, request).await
    }

    fn url(&self, path: &str) -> Url {
        self.inner.base_url.join(path).expect("paths are relative and of plain characters")
    }

    async fn exchange(&self, call: &'static str, request: RequestBuilder) -> Result<Answer, Error> {
        let started = Instant::now();
        let result = match request.send().await {
            Ok(response) => self.answer(call, response).await,
            Err(error) => Err(broken(call, error)),
        };
        debug!(
            call,
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            answered = result.is_ok(),
            "asked the card provider to {call}"
        );
        result
    }

    async fn answer(&self, call: &'static str, response: Response) -> Result<Answer, Error> {
        let status = response.status().as_u16();
        let replayed =
            response.headers().get(IDEMPOTENT_REPLAYED).is_some_and(|value| value == "true");
        let body = body(call, response).await?;
        match status {
            200 => Ok(Answer { body, replayed }),
            // The only statuses that can be a definite no. Not 401 and 403: they are about our key and
            // say nothing of the payment. Not 409, 429 and their like: they are about the moment.
            400 | 402 | 404 => Err(self.refusal(call, status, &body)),
            500..=599 if replayed => Err(Error::unknown(call, Doubt::Stored(status))),
            _ => Err(Error::unknown(call, Doubt::Status(status))),
        }
    }

    fn refusal(&self, call: &'static str, status: u16, body: &[u8]) -> Error {
        let refusal = match wire::refusal(body) {
            Ok(refusal) => refusal,
            Err(unreadable) => return self.unreadable(call, unreadable),
        };
        if refusal.kind == "idempotency_error" {
            return Error::unknown(call, Doubt::KeyReused);
        }
        let definite =
            DEFINITE_KINDS.contains(&&*refusal.kind) && !PASSING_CODES.contains(&&*refusal.code);
        if !definite {
            return Error::unknown(call, Doubt::Status(status));
        }
        Error::Refused {
            call,
            card_error: refusal.kind == "card_error",
            code: self.scrub(&refusal.code),
            message: self.scrub(&refusal.message),
            intent: refusal.intent.map(Box::new),
        }
    }

    pub(crate) fn unreadable(&self, call: &'static str, Unreadable(reason): Unreadable) -> Error {
        Error::unknown(call, Doubt::Unreadable(self.scrub(&reason)))
    }

    /// What of the provider's text is passed on: no key, and not all of a long one. In this order, or
    /// the cut could leave most of a key.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let clean = text.replace(&self.inner.api_key, "[api key]");
        clean.chars().take(TEXT_CHARS_MAX).collect()
    }
}

async fn body(call: &'static str, mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(call, error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::unknown(call, Doubt::TooLarge));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Unknown even without a connection: the payment may have moved through an earlier request.
fn broken(call: &'static str, error: reqwest::Error) -> Error {
    let doubt = if error.is_timeout() {
        Doubt::TimedOut
    } else if error.is_connect() {
        Doubt::Unreachable
    } else {
        Doubt::Interrupted
    };
    Error::Unknown { call, doubt, source: Some(Box::new(error)) }
}

fn headers(api_key: &str) -> Result<HeaderMap, SetupError> {
    if api_key.is_empty() || !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SetupError::ApiKey);
    }
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {api_key}")).map_err(|_| SetupError::ApiKey)?;
    bearer.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, bearer),
        (STRIPE_VERSION, HeaderValue::from_static(API_VERSION)),
    ]))
}

fn rooted(mut url: Url) -> Result<Url, SetupError> {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(SetupError::BaseUrl);
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tls_provider_there_is_an_error_and_no_panic() {
        let config = Config {
            base_url: "https://api.stripe.com".parse().expect("a URL"),
            api_key: "sk_test_1".to_owned(),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            return_url: None,
        };
        assert!(matches!(Stripe::new(config), Err(SetupError::NoTlsProvider)));
    }
}
