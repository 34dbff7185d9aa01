//! The calls about intents, one request each: what is sent, under which idempotency key, and how the
//! answer is held against what was asked. What to do about an answer is decided in `settle`.

use std::time::Duration;

use domain::{Currency, PaymentId, PaymentMethod};

use crate::{
    CREATE_KEYS_MAX, Charge, Doubt, Error, INTENTS_FOUND_MAX, Intent, IntentId, IntentStatus,
    Stripe, client::Answer, wire,
};

pub(crate) const INTENTS: &str = "v1/payment_intents";
/// Currencies whose minor unit the provider counts otherwise than ISO 4217 does. Selling in one of
/// them would charge a hundredth or a hundredfold, so it is refused before anything is asked.
const OTHER_MINOR_UNITS: [&str; 3] = ["ISK", "MGA", "UGX"];

impl Stripe {
    /// Makes the intent of an attempt, and asks nothing of the issuer yet.
    ///
    /// However often this is repeated, and by however many processes, it gives the same intent: were
    /// there two, both could be confirmed. The next key is used only after the provider repeated a
    /// failure that it stored under the one before. A stored answer never changes, so all callers come
    /// to the same first key that has an intent. All this holds for [`crate::KEY_LIFETIME`]: who cannot
    /// tell that the attempt is younger calls [`Stripe::settle_creation`].
    pub async fn create(&self, charge: &Charge, method: &PaymentMethod) -> Result<Intent, Error> {
        const CALL: &str = "create";
        let currency = charge.amount.currency();
        if OTHER_MINOR_UNITS.contains(&currency.code()) {
            return Err(unsupported(CALL, currency));
        }
        let form = [
            ("amount", charge.amount.minor().to_string()),
            ("currency", currency.code().to_ascii_lowercase()),
            ("payment_method", method.as_str().to_owned()),
            // Otherwise the account's settings decide, and other methods may not be capturable later.
            ("payment_method_types[]", "card".to_owned()),
            ("capture_method", "manual".to_owned()),
            ("confirm", "false".to_owned()),
            ("metadata[payment_id]", charge.payment.to_string()),
            ("metadata[order_id]", charge.payment.checkout().order().to_string()),
            ("metadata[attempt]", charge.attempt.to_string()),
        ];
        let mut nth = 0;
        loop {
            let answer = self.post(CALL, INTENTS, &key(charge, CALL, nth), &form).await;
            nth += 1;
            match answer {
                Err(Error::Unknown { doubt: Doubt::Stored(_), .. }) if nth < CREATE_KEYS_MAX => {}
                answer => return self.intent(CALL, answer, None, charge).await,
            }
        }
    }

    /// Asks the issuer for the money. A decline is an answer: the intent in `requires_payment_method`
    /// with its decline code.
    ///
    /// The provider repeats what it once answered to a key, its own failures included, so a `retry`
    /// above 0 uses a key of its own. That is safe for an intent is confirmed at most once.
    pub async fn confirm(
        &self,
        id: &IntentId,
        charge: &Charge,
        retry: u32,
    ) -> Result<Intent, Error> {
        const CALL: &str = "confirm";
        let back = self.return_url().map(|url| ("return_url", url.to_string()));
        let result = self.step(CALL, id, charge, retry, back.as_slice()).await;
        match result {
            Err(Error::Refused { card_error: true, intent: Some(intent), .. }) => {
                match intent.status {
                    IntentStatus::RequiresPaymentMethod { decline_code: Some(_) } => Ok(*intent),
                    _ => Err(Error::unknown(CALL, Doubt::Mismatch("enclosed intent"))),
                }
            }
            result => result,
        }
    }

    /// Takes the authorized money, all of it. For `retry` see [`Stripe::confirm`].
    pub async fn capture(
        &self,
        id: &IntentId,
        charge: &Charge,
        retry: u32,
    ) -> Result<Intent, Error> {
        let amount = [("amount_to_capture", charge.amount.minor().to_string())];
        self.step("capture", id, charge, retry, &amount).await
    }

    /// Ends an intent that is not captured. For `retry` see [`Stripe::confirm`].
    pub async fn cancel(
        &self,
        id: &IntentId,
        charge: &Charge,
        retry: u32,
    ) -> Result<Intent, Error> {
        self.step("cancel", id, charge, retry, &[]).await
    }

    /// The intent as it is now. What it is for is not checked, for that is what the caller asks.
    pub async fn retrieve(&self, id: &IntentId) -> Result<Intent, Error> {
        self.retrieve_within(id, None).await
    }

    /// The intent of a charge as it is now. One that turns out to be for anything else, be it other money,
    /// leaves unknown what became of the charge.
    pub async fn look_up(&self, id: &IntentId, charge: &Charge) -> Result<Intent, Error> {
        let now = self.retrieve(id).await?;
        held_to("retrieve", &now, Some(id), charge)?;
        Ok(now)
    }

    pub(crate) async fn retrieve_within(
        &self,
        id: &IntentId,
        within: Option<Duration>,
    ) -> Result<Intent, Error> {
        const CALL: &str = "retrieve";
        let answer = self.get(CALL, &format!("{INTENTS}/{id}"), &[], within).await?;
        let intent = wire::intent(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        if intent.id == *id { Ok(intent) } else { Err(Error::unknown(CALL, Doubt::Mismatch("id"))) }
    }

    /// Every intent of a payment, first attempt first.
    ///
    /// The provider's search lags behind its writes by seconds, in bad times by minutes, so an intent
    /// that is not found may exist all the same.
    pub async fn find(&self, payment: PaymentId) -> Result<Vec<Intent>, Error> {
        const CALL: &str = "find";
        let query = [
            ("query", format!("metadata['payment_id']:'{payment}'")),
            ("limit", INTENTS_FOUND_MAX.to_string()),
        ];
        let answer = self.get(CALL, &format!("{INTENTS}/search"), &query, None).await?;
        let mut intents = wire::intents(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        if intents.iter().any(|intent| intent.charge.payment != payment) {
            return Err(Error::unknown(CALL, Doubt::Mismatch("payment")));
        }
        intents.sort_by_key(|intent| intent.charge.attempt);
        Ok(intents)
    }

    async fn step(
        &self,
        call: &'static str,
        id: &IntentId,
        charge: &Charge,
        retry: u32,
        form: &[(&str, String)],
    ) -> Result<Intent, Error> {
        let path = format!("{INTENTS}/{id}/{call}");
        let answer = self.post(call, &path, &key(charge, call, retry), form).await;
        self.intent(call, answer, Some(id), charge).await
    }

    /// Reads an answer about one intent and holds it, or the intent in a refusal, against the request.
    async fn intent(
        &self,
        call: &'static str,
        answer: Result<Answer, Error>,
        id: Option<&IntentId>,
        charge: &Charge,
    ) -> Result<Intent, Error> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if let Error::Refused { intent: Some(enclosed), .. } = &error {
                    held_to(call, enclosed, id, charge)?;
                }
                return Err(error);
            }
        };
        let intent = wire::intent(&answer.body).map_err(|why| self.unreadable(call, why))?;
        held_to(call, &intent, id, charge)?;
        if !answer.replayed {
            return Ok(intent);
        }
        // A repeated answer tells what was, and the intent may have moved on since.
        let now = self.retrieve(&intent.id).await?;
        held_to(call, &now, id, charge)?;
        Ok(now)
    }
}

/// `pay_x/1/confirm`, or `pay_x/1/confirm/2` for the second retry.
pub(crate) fn key(charge: &Charge, step: &str, retry: u32) -> String {
    let Charge { payment, attempt, .. } = charge;
    match retry {
        0 => format!("{payment}/{attempt}/{step}"),
        _ => format!("{payment}/{attempt}/{step}/{retry}"),
    }
}

/// Refuses to take an answer about one thing for the answer about another.
pub(crate) fn held_to(
    call: &'static str,
    intent: &Intent,
    id: Option<&IntentId>,
    charge: &Charge,
) -> Result<(), Error> {
    let checks = [
        ("id", id.is_none_or(|id| intent.id == *id)),
        ("payment", intent.charge.payment == charge.payment),
        ("attempt", intent.charge.attempt == charge.attempt),
        ("amount", intent.charge.amount == charge.amount),
    ];
    match checks.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(Error::unknown(call, Doubt::Mismatch(what))),
        None => Ok(()),
    }
}

pub(crate) fn unsupported(call: &'static str, currency: Currency) -> Error {
    Error::Refused {
        call,
        code: "currency_unsupported".to_owned(),
        message: format!("{currency} cannot be used here; the provider was not asked"),
        card_error: false,
        intent: None,
    }
}
