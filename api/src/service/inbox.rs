//! What is told from outside about a payment or a refund: written down, and nothing else. Who carries it on, and who
//! asks the provider what has really happened, are the workers; neither they nor the engine need be
//! there for this.

use chrono::Utc;
use payments::{
    IntentId, RefundId,
    webhook::{EventKind, Rejected},
};
use store::inbox::{self, Accepted, Arrival};

use super::Service;
use crate::error::Error;

/// Who tells by webhook.
const STRIPE: &str = "stripe";
/// Who tells by coming back from the bank: anybody's browser.
const BROWSER: &str = "browser";
/// What a browser tells of.
const CAME_BACK: &str = "customer.returned";
/// The outcomes that the provider sends browsers back with. Whatever else one brings counts as one more,
/// so that nobody can fill the inbox.
const BROUGHT_BACK: [&str; 3] = ["succeeded", "failed", "pending"];

impl Service {
    /// Takes a webhook in, if it is the provider's. Once this returns, it will be looked into.
    pub(crate) async fn hear(&self, signature: &[u8], body: &[u8]) -> Result<(), Error> {
        let Some(secrets) = &self.0.webhook_secrets else { return Err(Error::NotFound) };
        let signature = std::str::from_utf8(signature).unwrap_or_default();
        let event = secrets
            .verify(signature, body, Utc::now().timestamp())
            .map_err(|rejected| refused(&rejected))?;
        match &event.kind {
            EventKind::Intent(_) | EventKind::Refund(_) | EventKind::Charge(_) => {}
            EventKind::Other(word) => {
                tracing::debug!(event.id = %event.id, "{word} is none of a payment's");
                return Ok(());
            }
        }
        self.accept(&Arrival {
            provider: STRIPE,
            event_id: event.id.as_str(),
            kind: event.kind.as_str(),
            payment_id: event.payment,
            attempt: event.attempt,
            provider_ref: event.intent.as_ref().map(IntentId::as_str),
            refund_id: event.reference.as_deref().and_then(|reference| reference.parse().ok()),
            refund_ref: event.refund.as_ref().map(RefundId::as_str),
        })
        .await
    }

    /// Notes that a browser came back from the bank. What it brings is not believed, and may be made up.
    pub(crate) async fn came_back(
        &self,
        intent: IntentId,
        redirect_status: &str,
    ) -> Result<(), Error> {
        let status = BROUGHT_BACK.iter().find(|known| **known == redirect_status);
        let event_id = format!("{intent}/{}", status.unwrap_or(&"other"));
        self.accept(&Arrival {
            provider: BROWSER,
            event_id: &event_id,
            kind: CAME_BACK,
            // Nobody has signed this, so only an intent that we noted ourselves is ours.
            payment_id: None,
            attempt: None,
            provider_ref: Some(intent.as_str()),
            refund_id: None,
            refund_ref: None,
        })
        .await
    }

    async fn accept(&self, arrival: &Arrival<'_>) -> Result<(), Error> {
        let accepted = inbox::accept(&mut *self.connection().await?, arrival).await?;
        let Arrival { provider, event_id, kind, .. } = arrival;
        let what = match accepted {
            Accepted::New => "is taken in",
            Accepted::Known => "was told before",
            Accepted::NotOurs => "is about no payment of ours",
        };
        tracing::debug!(provider, event.id = event_id, "{kind} {what}: {event_id}");
        Ok(())
    }
}

/// What is signed and cannot be read is the provider's doing, and a person should know.
fn refused(rejected: &Rejected) -> Error {
    match rejected {
        Rejected::UnreadableEvent(_) => {
            tracing::error!(error = %rejected, "the provider sent an event that we do not understand");
            Error::Malformed(rejected.to_string())
        }
        Rejected::TooLarge | Rejected::Unsigned(_) => {
            tracing::warn!(error = %rejected, "a webhook was refused: {rejected}");
            Error::InvalidSignature(rejected.to_string())
        }
    }
}
