//! Generated types to ours and back. Every rule that a message must keep is kept by our types.

pub(super) mod books;
pub(super) mod case;
pub(super) mod order;
mod refund;
pub(super) mod webhook;

use chrono::{DateTime, Utc};
use domain::{CheckoutState, Sku};
use workflows::{NextAction, Resolution};

use super::{field, proto};
use crate::{
    error::{self, Error, FieldError},
    service::{
        cart::{self, Cart},
        checkout::Checkout,
        request::{Address, CheckoutRequest},
    },
};

pub(super) fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).expect("less than two billion");
    prost_types::Timestamp { seconds: at.timestamp(), nanos }
}

/// The years that RFC 3339 can write, as over HTTP.
pub(super) fn moment(at: prost_types::Timestamp) -> Result<DateTime<Utc>, Error> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let moment = nanos
        .filter(|_| YEARS.contains(&at.seconds))
        .and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos));
    moment.ok_or_else(|| {
        let detail = "a time in the years 1 to 9999";
        Error::Invalid(vec![FieldError::at("/at", "invalid_value", detail)])
    })
}

/// One of an enumeration's values, where one must be said.
fn chosen<T>(name: &str, value: Option<T>) -> Result<T, Error> {
    field(name, value.ok_or("none of the values that there are"))
}

/// A line of a request, by its number. How many units it may be of is for others to say.
fn stock_line(number: usize, raw: proto::StockLine) -> Result<(Sku, i64), Error> {
    Ok((field(&format!("lines/{number}/sku"), raw.sku.try_into())?, raw.quantity))
}

pub(super) fn resolution(action: proto::ResolutionAction) -> Result<Resolution, Error> {
    let action = match action {
        proto::ResolutionAction::Unspecified => None,
        proto::ResolutionAction::Retry => Some(Resolution::Retry),
        proto::ResolutionAction::GiveUp => Some(Resolution::GiveUp),
    };
    chosen("action", action)
}

impl From<domain::Money> for proto::Money {
    fn from(money: domain::Money) -> Self {
        Self { minor: money.minor(), currency: money.currency().to_string() }
    }
}

impl TryFrom<proto::Money> for domain::Money {
    type Error = domain::money::MoneyError;

    fn try_from(raw: proto::Money) -> Result<Self, Self::Error> {
        Self::new(raw.minor, raw.currency.parse()?)
    }
}

impl TryFrom<proto::StartRequest> for CheckoutRequest {
    type Error = Error;

    fn try_from(raw: proto::StartRequest) -> Result<Self, Error> {
        let address = raw.shipping_address.ok_or_else(|| {
            let detail = "an address is needed";
            Error::Invalid(vec![FieldError::at("/shipping_address", "missing_field", detail)])
        })?;
        Ok(Self {
            expected_total: raw
                .expected_total
                .map(|total| field("expected_total", total.try_into()))
                .transpose()?,
            payment: raw
                .payment
                .map(|payment| field("payment/method", payment.method.try_into()))
                .transpose()?,
            email: raw.email,
            shipping_address: Address {
                name: address.name,
                line1: address.line1,
                line2: address.line2,
                city: address.city,
                postal_code: address.postal_code,
                country: address.country,
            },
        })
    }
}

impl From<Cart> for proto::Cart {
    fn from(Cart { view, available }: Cart) -> Self {
        Self {
            version: view.version,
            total: cart::total(&view).map(Into::into),
            checkout_id: view.locked_by.map(|id| id.to_string()),
            lines: view
                .lines
                .into_iter()
                .map(|line| proto::CartLine {
                    available: available.get(&line.sku).copied(),
                    sku: line.sku.into(),
                    title: line.title,
                    quantity: line.quantity.into(),
                    price_changed: line.seen_price != line.current_price,
                    seen_price: Some(line.seen_price.into()),
                    current_price: Some(line.current_price.into()),
                    on_sale: line.on_sale,
                })
                .collect(),
        }
    }
}

impl From<Checkout> for proto::Checkout {
    fn from(checkout: Checkout) -> Self {
        Self {
            id: checkout.id.to_string(),
            state: proto::CheckoutState::from(checkout.state).into(),
            order_id: checkout.order_id.map(|id| id.to_string()),
            total: checkout.total.map(Into::into),
            lines: checkout
                .lines
                .into_iter()
                .map(|line| proto::CheckoutLine {
                    sku: line.sku.into(),
                    title: line.title,
                    quantity: line.quantity.into(),
                    unit_price: Some(line.unit_price.into()),
                })
                .collect(),
            expires_at: checkout.expires_at.map(timestamp),
            next_action: checkout.next_action.map(Into::into),
            attempts: checkout.attempts,
            problem: checkout.problem.as_ref().map(Into::into),
            created_at: Some(timestamp(checkout.created_at)),
        }
    }
}

impl From<NextAction> for proto::NextAction {
    fn from(action: NextAction) -> Self {
        use proto::next_action::Action;
        let action = match action {
            NextAction::SubmitPayment => Action::SubmitPayment(proto::SubmitPaymentAction {}),
            NextAction::Redirect { url } => Action::Redirect(proto::RedirectAction { url }),
        };
        Self { action: Some(action) }
    }
}

impl From<&domain::Problem> for proto::Problem {
    fn from(problem: &domain::Problem) -> Self {
        let problem = error::Problem::from(problem);
        let members = error::text_members(problem.members).collect();
        Self { code: problem.code.to_owned(), members }
    }
}

impl From<CheckoutState> for proto::CheckoutState {
    fn from(state: CheckoutState) -> Self {
        match state {
            CheckoutState::Validating => Self::Validating,
            CheckoutState::Reserving => Self::Reserving,
            CheckoutState::AwaitingPayment => Self::AwaitingPayment,
            CheckoutState::Authorizing => Self::Authorizing,
            CheckoutState::ActionRequired => Self::ActionRequired,
            CheckoutState::Placing => Self::Placing,
            CheckoutState::Capturing => Self::Capturing,
            CheckoutState::Completed => Self::Completed,
            CheckoutState::Compensating => Self::Compensating,
            CheckoutState::Failed => Self::Failed,
            CheckoutState::Cancelled => Self::Cancelled,
            CheckoutState::Expired => Self::Expired,
            CheckoutState::NeedsAttention => Self::NeedsAttention,
        }
    }
}
