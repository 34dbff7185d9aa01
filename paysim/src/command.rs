//! What a POST asks for, parsed and checked before anything runs. A request refused here has not
//! happened: no idempotency key remembers it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    card::{Card, Decline},
    error::ApiError,
    fault::{Fault, Operation, parse_plan},
    form::Form,
    intent::{CaptureMethod, Intent, Outcome, Status, new_id},
};

/// Stripe's cap for amounts of eight digits.
const AMOUNT_MAX: i64 = 99_999_999;
const RETURN_URL_BYTES_MAX: usize = 2_048;
/// The metadata key that carries a fault plan.
pub(crate) const FAULT_METADATA_KEY: &str = "paysim_fault";
/// The metadata key with the shop's own reference.
pub(crate) const PAYMENT_ID_METADATA_KEY: &str = "payment_id";

const CREATE_PARAMS: &[&str] = &[
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "confirmation_method",
    "currency",
    "description",
    "expand",
    "metadata",
    "off_session",
    "payment_method",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "statement_descriptor",
    "statement_descriptor_suffix",
];
const CONFIRM_PARAMS: &[&str] = &["expand", "off_session", "payment_method", "return_url"];
const CAPTURE_PARAMS: &[&str] = &["amount_to_capture", "expand"];
const CANCEL_PARAMS: &[&str] = &["cancellation_reason", "expand"];
const REFUND_PARAMS: &[&str] = &["amount", "expand", "metadata", "payment_intent", "reason"];
const CANCELLATION_REASONS: &[&str] =
    &["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
const REFUND_REASONS: &[&str] = &["duplicate", "fraudulent", "requested_by_customer"];

/// A checked request.
#[derive(Debug)]
pub(crate) enum Command {
    Create(Create),
    Confirm {
        intent: String,
        card: Option<Card>,
        return_url: Option<String>,
    },
    Capture {
        intent: String,
        amount: Option<i64>,
    },
    Cancel {
        intent: String,
        reason: Option<String>,
    },
    Refund {
        intent: String,
        amount: Option<i64>,
        reason: Option<String>,
        metadata: BTreeMap<String, String>,
    },
}

/// A new intent, perhaps confirmed at once.
#[derive(Debug)]
pub(crate) struct Create {
    amount: i64,
    currency: String,
    capture_method: CaptureMethod,
    card: Option<Card>,
    confirm: bool,
    return_url: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Command {
    pub(crate) fn create(form: &Form) -> Result<Self, ApiError> {
        form.only(CREATE_PARAMS)?;
        let metadata = form.metadata()?;
        if let Some(plan) = metadata.get(FAULT_METADATA_KEY) {
            parse_plan(plan).map_err(|error| {
                ApiError::invalid(None, error.to_string()).with_param("metadata")
            })?;
        }
        let confirm = form.flag("confirm")?;
        let card = card(form)?;
        if confirm && card.is_none() {
            return Err(ApiError::missing_param("payment_method"));
        }
        Ok(Self::Create(Create {
            amount: amount(form, "amount")?.ok_or_else(|| ApiError::missing_param("amount"))?,
            currency: currency(form)?,
            capture_method: capture_method(form)?,
            card,
            confirm,
            return_url: return_url(form)?,
            metadata,
        }))
    }

    pub(crate) fn confirm(intent: String, form: &Form) -> Result<Self, ApiError> {
        form.only(CONFIRM_PARAMS)?;
        Ok(Self::Confirm { intent, card: card(form)?, return_url: return_url(form)? })
    }

    pub(crate) fn capture(intent: String, form: &Form) -> Result<Self, ApiError> {
        form.only(CAPTURE_PARAMS)?;
        Ok(Self::Capture { intent, amount: amount(form, "amount_to_capture")? })
    }

    pub(crate) fn cancel(intent: String, form: &Form) -> Result<Self, ApiError> {
        form.only(CANCEL_PARAMS)?;
        let reason = one_of(form, "cancellation_reason", CANCELLATION_REASONS)?;
        Ok(Self::Cancel { intent, reason })
    }

    pub(crate) fn refund(form: &Form) -> Result<Self, ApiError> {
        form.only(REFUND_PARAMS)?;
        let intent = form.text("payment_intent")?;
        let intent = intent.ok_or_else(|| ApiError::missing_param("payment_intent"))?;
        Ok(Self::Refund {
            intent: intent.to_owned(),
            amount: amount(form, "amount")?,
            reason: one_of(form, "reason", REFUND_REASONS)?,
            metadata: form.metadata()?,
        })
    }

    /// The intent the command changes; `None` for a new one.
    pub(crate) fn intent(&self) -> Option<&str> {
        match self {
            Self::Create(_) => None,
            Self::Confirm { intent, .. }
            | Self::Capture { intent, .. }
            | Self::Cancel { intent, .. }
            | Self::Refund { intent, .. } => Some(intent),
        }
    }

    pub(crate) fn operations(&self) -> &'static [Operation] {
        match self {
            Self::Create(create) if create.confirm => &[Operation::Create, Operation::Confirm],
            Self::Create(_) => &[Operation::Create],
            Self::Confirm { .. } => &[Operation::Confirm],
            Self::Capture { .. } => &[Operation::Capture],
            Self::Cancel { .. } => &[Operation::Cancel],
            Self::Refund { .. } => &[Operation::Refund],
        }
    }

    /// Runs the command on its intent as it stands. `existing` is there for all but a create.
    /// `refuse` orders a definite refusal where the command would have gone through.
    pub(crate) fn apply(
        &self,
        existing: Option<Intent>,
        at: DateTime<Utc>,
        refuse: bool,
    ) -> Option<Outcome> {
        let declined_by = refuse.then_some(Decline::DO_NOT_HONOR);
        Some(match self {
            Self::Create(create) => {
                let intent = create.intent(at);
                if create.confirm {
                    intent.confirm(create.card, None, declined_by)
                } else if refuse {
                    intent.refused(ApiError::invalid(None, "The PaymentIntent was refused."))
                } else {
                    intent.start(create.card)
                }
            }
            Self::Confirm { card, return_url, .. } => {
                existing?.confirm(*card, return_url.as_deref(), declined_by)
            }
            Self::Capture { .. } if refuse => existing?.refuse_capture(at),
            Self::Capture { amount, .. } => existing?.capture(*amount),
            Self::Cancel { reason, .. } => existing?.cancel(reason.as_deref(), at),
            Self::Refund { .. } if refuse => existing?.refused(ApiError::invalid(
                Some("charge_disputed"),
                "The charge has been charged back; it cannot be refunded.",
            )),
            Self::Refund { amount, reason, metadata, .. } => {
                existing?.refund(*amount, reason.as_deref(), metadata, at)
            }
        })
    }
}

impl Create {
    fn intent(&self, at: DateTime<Utc>) -> Intent {
        Intent {
            id: new_id("pi"),
            amount: self.amount,
            currency: self.currency.clone(),
            capture_method: self.capture_method,
            status: Status::RequiresPaymentMethod,
            payment_method: None,
            amount_authorized: 0,
            amount_captured: 0,
            amount_refunded: 0,
            charge: None,
            cancellation_reason: None,
            canceled_at: None,
            return_url: self.return_url.clone(),
            last_payment_error: None,
            metadata: self.metadata.clone(),
            created_at: at,
            version: 0,
        }
    }
}

/// The fault that metadata orders for one of `operations`, with the operation it is for.
pub(crate) fn planned_fault(
    metadata: &BTreeMap<String, String>,
    operations: &[Operation],
) -> Option<(Operation, Fault)> {
    let plan = parse_plan(metadata.get(FAULT_METADATA_KEY)?).ok()?;
    plan.into_iter().find(|(operation, _)| operations.contains(operation))
}

fn amount(form: &Form, name: &str) -> Result<Option<i64>, ApiError> {
    let amount = form.integer(name)?;
    match amount {
        Some(amount) if amount < 1 => {
            let message = "This value must be greater than or equal to 1.";
            Err(ApiError::invalid_param(name, "parameter_invalid_integer", message))
        }
        Some(amount) if amount > AMOUNT_MAX => {
            let message = format!("Amount must be no more than {AMOUNT_MAX}");
            Err(ApiError::invalid_param(name, "amount_too_large", message))
        }
        Some(_) | None => Ok(amount),
    }
}

fn currency(form: &Form) -> Result<String, ApiError> {
    let text = form.text("currency")?.ok_or_else(|| ApiError::missing_param("currency"))?;
    let known = iso_currency::Currency::from_code(&text.to_ascii_uppercase()).is_some();
    if !known {
        return Err(
            ApiError::invalid(None, format!("Invalid currency: {text}")).with_param("currency")
        );
    }
    Ok(text.to_ascii_lowercase())
}

fn capture_method(form: &Form) -> Result<CaptureMethod, ApiError> {
    match form.text("capture_method")? {
        None | Some("automatic" | "automatic_async") => Ok(CaptureMethod::Automatic),
        Some("manual") => Ok(CaptureMethod::Manual),
        Some(other) => Err(ApiError::invalid(
            None,
            format!("Invalid capture_method: must be one of automatic, automatic_async, or manual, not {other}"),
        )
        .with_param("capture_method")),
    }
}

fn card(form: &Form) -> Result<Option<Card>, ApiError> {
    form.text("payment_method")?.map(Card::find).transpose()
}

/// A browser is sent here after 3-D Secure, so nothing but a web address will do.
fn return_url(form: &Form) -> Result<Option<String>, ApiError> {
    let Some(url) = form.text("return_url")? else {
        return Ok(None);
    };
    let web = url.starts_with("https://") || url.starts_with("http://");
    if !web || url.len() > RETURN_URL_BYTES_MAX || url.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(ApiError::invalid_param("return_url", "url_invalid", "Not a valid URL"));
    }
    Ok(Some(url.to_owned()))
}

fn one_of(form: &Form, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    match form.text(name)? {
        Some(text) if !words.contains(&text) => {
            let message = format!("Invalid {name}: must be one of {}", words.join(", "));
            Err(ApiError::invalid(None, message).with_param(name))
        }
        found => Ok(found.map(str::to_owned)),
    }
}
