//! Reads the provider's JSON into validated objects. A text that is not exactly what we understand
//! gives a reason why not, and never half an object. Nothing here does IO.

use std::fmt;

use domain::{Money, PaymentId};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use crate::{Charge, Intent, IntentStatus, Page};

mod list;
mod refund;

pub(crate) use self::{
    list::listed,
    refund::{listed_refunds, refund, refunds},
};

/// The longest code of a refusal that is passed on.
const CODE_CHARS_MAX: usize = 64;

/// Why an answer cannot be understood. It may quote the answer, so it is scrubbed before it is shown.
pub(crate) struct Unreadable(pub(crate) String);

impl Unreadable {
    fn because(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(Unreadable::because)
}

#[derive(Deserialize)]
struct RawIntent {
    object: String,
    id: String,
    status: RawStatus,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    capture_method: String,
    metadata: RawMetadata,
    /// The charge of the last attempt that reached the issuer, by its id or whole.
    latest_charge: Option<serde::de::IgnoredAny>,
    last_payment_error: Option<RawRefusal>,
    next_action: Option<RawNextAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
}

/// What `create` stored with the intent.
#[derive(Deserialize)]
struct RawMetadata {
    payment_id: PaymentId,
    attempt: String,
}

#[derive(Deserialize)]
struct RawNextAction {
    redirect_to_url: Option<RawRedirect>,
}

#[derive(Deserialize)]
struct RawRedirect {
    url: Url,
}

#[derive(Deserialize)]
struct RawRefusal {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
    payment_intent: Option<Box<RawIntent>>,
}

#[derive(Deserialize)]
struct RawError {
    error: RawRefusal,
}

/// A list or what a search found.
#[derive(Deserialize)]
struct RawPage<T> {
    object: String,
    data: Vec<T>,
    has_more: bool,
}

/// The body of a refusal. Whether it is one that counts is decided by its `kind`.
pub(crate) struct Refusal {
    pub(crate) kind: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) intent: Option<Intent>,
}

pub(crate) fn intent(body: &[u8]) -> Result<Intent, Unreadable> {
    json::<RawIntent>(body)?.try_into()
}

/// All intents that a search found; a second page would be more than one payment can have.
pub(crate) fn intents(body: &[u8]) -> Result<Vec<Intent>, Unreadable> {
    let found: RawPage<RawIntent> = json(body)?;
    expect_object(&found.object, "search_result")?;
    if found.has_more {
        return Err(Unreadable::because("more intents than one payment can have"));
    }
    found.data.into_iter().map(Intent::try_from).collect()
}

pub(crate) fn refusal(body: &[u8]) -> Result<Refusal, Unreadable> {
    let RawError { mut error } = json(body)?;
    let intent = error.payment_intent.take().map(|raw| Intent::try_from(*raw)).transpose()?;
    let kind = error.kind.clone().ok_or_else(|| Unreadable::because("an error without a type"))?;
    let message = error.message.take().unwrap_or_default();
    Ok(Refusal { kind, code: reason(error), message, intent })
}

impl TryFrom<RawIntent> for Intent {
    type Error = Unreadable;

    fn try_from(raw: RawIntent) -> Result<Self, Unreadable> {
        expect_object(&raw.object, "payment_intent")?;
        // Any other method would capture on confirmation, before the order is placed.
        if raw.capture_method != "manual" {
            return Err(Unreadable::because("an intent whose capture is not manual"));
        }
        let attempt = raw.metadata.attempt.parse().ok().filter(|attempt| *attempt > 0);
        let charge = Charge {
            payment: raw.metadata.payment_id,
            attempt: attempt.ok_or_else(|| Unreadable::because("an attempt that is no number"))?,
            amount: money(raw.amount, &raw.currency)?,
        };
        // A cancelled intent was approved if its last attempt reached the issuer and was not declined.
        let approved = match raw.status {
            RawStatus::RequiresCapture | RawStatus::Succeeded => true,
            RawStatus::Canceled => raw.latest_charge.is_some() && raw.last_payment_error.is_none(),
            RawStatus::RequiresPaymentMethod
            | RawStatus::RequiresConfirmation
            | RawStatus::RequiresAction
            | RawStatus::Processing => false,
        };
        let status = match raw.status {
            RawStatus::RequiresPaymentMethod => IntentStatus::RequiresPaymentMethod {
                decline_code: raw.last_payment_error.map(reason),
            },
            RawStatus::RequiresConfirmation => IntentStatus::RequiresConfirmation,
            RawStatus::RequiresAction => IntentStatus::RequiresAction {
                url: raw.next_action.and_then(|next| next.redirect_to_url).and_then(web_url),
            },
            RawStatus::Processing => IntentStatus::Processing,
            RawStatus::RequiresCapture => IntentStatus::RequiresCapture,
            RawStatus::Canceled => IntentStatus::Canceled,
            RawStatus::Succeeded => IntentStatus::Succeeded,
        };
        let captured_minor = raw.amount_received;
        if !(0..=raw.amount).contains(&captured_minor)
            || (status == IntentStatus::Succeeded && captured_minor == 0)
        {
            return Err(Unreadable::because("an impossible captured amount"));
        }
        let id = raw.id.try_into().map_err(Unreadable::because)?;
        Ok(Self { id, charge, status, approved, captured_minor })
    }
}

/// A page of a list, each of whose items can be read. One without items leads nowhere further.
fn page<Raw, T>(body: &[u8]) -> Result<Page<T>, Unreadable>
where
    Raw: DeserializeOwned,
    T: TryFrom<Raw, Error = Unreadable>,
{
    let RawPage::<Raw> { object, data, has_more } = json(body)?;
    expect_object(&object, "list")?;
    if has_more && data.is_empty() {
        return Err(Unreadable::because("an empty page with another one behind it"));
    }
    let items: Result<_, _> = data.into_iter().map(T::try_from).collect();
    Ok(Page { items: items?, has_more })
}

fn expect_object(found: &str, wanted: &str) -> Result<(), Unreadable> {
    if found == wanted {
        return Ok(());
    }
    Err(Unreadable::because(format!("expected a {wanted}")))
}

/// The provider writes currencies in lower case only.
fn money(minor: i64, currency: &str) -> Result<Money, Unreadable> {
    if currency.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Unreadable::because("a currency that is not in lower case"));
    }
    let currency = currency.to_ascii_uppercase().parse().map_err(Unreadable::because)?;
    Money::new(minor, currency).map_err(Unreadable::because)
}

/// The customer is sent there, so nothing but the web's own schemes will do.
fn web_url(redirect: RawRedirect) -> Option<String> {
    matches!(redirect.url.scheme(), "http" | "https").then(|| redirect.url.into())
}

/// The most telling of the words a refusal has.
fn reason(refusal: RawRefusal) -> String {
    let found = refusal.decline_code.or(refusal.code).or(refusal.kind);
    word(found.unwrap_or_default())
}

/// A code goes to clients, logs and search attributes, so it must look like one.
fn word(text: String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=CODE_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain) {
        text
    } else {
        "unrecognized".to_owned()
    }
}
