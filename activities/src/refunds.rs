//! The steps of a refund: written down, and then made, or looked at, and written down again.
//!
//! The provider is asked under the refund's own id, and looked through for it first; so a refund that
//! was made and never heard of is found, however long ago that was.

use std::sync::Arc;

use ::payments::{Charge, Refund, RefundId, RefundOutcome as Made, RefundStatus, Stripe};
use domain::RefundState;
use store::{
    PgPool,
    refund::{self, Captured, NewRefund, RefundRow, Word},
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::{self, RefundOutcome, RefundReply, RefundRequest, SettleRefundInput};

use crate::{
    failure, heartbeat,
    payments::{Trouble, intent_id},
};

/// The refunds of paid orders, at one provider. Clones share its connections.
#[derive(Clone)]
pub struct Refunds {
    pool: PgPool,
    provider: Stripe,
}

/// What the provider says of a refund.
struct Said {
    state: RefundState,
    provider_ref: Option<String>,
    code: Option<String>,
}

impl Refunds {
    /// Refunds written down in this database and carried out by this provider.
    pub fn new(pool: PgPool, provider: Stripe) -> Self {
        Self { pool, provider }
    }

    /// Looks at a refund that nobody follows any more, and writes down what the provider says of it now.
    /// Where it stands after it.
    pub async fn look(&self, refund_id: domain::RefundId) -> anyhow::Result<RefundState> {
        let looked = self.make_or_look(SettleRefundInput { refund_id }).await;
        looked.map(|outcome| outcome.state).map_err(|trouble| anyhow::anyhow!("{trouble}"))
    }

    async fn write_request(&self, input: RefundRequest) -> Result<RefundReply, store::Error> {
        let mut tx = self.pool.begin().await?;
        let new = NewRefund {
            id: input.refund_id,
            order_id: input.order_id,
            purpose: input.purpose,
            amount: input.amount,
            reason: &input.reason,
            actor: &input.actor,
            reference: &input.reference,
        };
        let requested = refund::request(&mut tx, new).await?;
        tx.commit().await?;
        Ok(match requested {
            Ok(row) => RefundReply::Taken { amount: row.amount, state: row.state },
            Err(problem) => RefundReply::NotTaken { problem },
        })
    }

    async fn make_or_look(&self, input: SettleRefundInput) -> Result<RefundOutcome, Trouble> {
        let (row, captured) = self.read(input.refund_id).await?;
        if !row.state.open() {
            return Ok(RefundOutcome { state: row.state, code: row.code });
        }
        let said = match &row.provider_ref {
            None => self.make(&row, &captured).await?,
            Some(reference) => Said::from(self.provider.retrieve_refund(&id(reference)?).await?),
        };
        let word = Word {
            state: said.state,
            provider_ref: said.provider_ref.as_deref(),
            code: said.code.as_deref(),
        };
        let mut tx = self.pool.begin().await?;
        let row = refund::decide(&mut tx, row.id, word).await?;
        tx.commit().await?;
        Ok(RefundOutcome { state: row.state, code: row.code })
    }

    async fn read(&self, id: domain::RefundId) -> Result<(RefundRow, Captured), store::Error> {
        let mut conn = self.pool.acquire().await?;
        let row = refund::find(&mut conn, id).await?;
        let row = row.ok_or_else(|| store::Error::Broken(format!("{id} was never asked for")))?;
        let captured = refund::captured(&mut conn, row.payment_id).await?;
        Ok((row, captured))
    }

    async fn make(&self, row: &RefundRow, captured: &Captured) -> Result<Said, Trouble> {
        let intent = intent_id(&captured.provider_ref)?;
        let charge =
            Charge { payment: row.payment_id, attempt: captured.attempt, amount: captured.amount };
        let reference = row.id.to_string();
        let made = self.provider.settle_refund(&intent, &charge, row.amount, &reference).await?;
        Ok(Said::from(made))
    }
}

impl From<Made> for Said {
    fn from(made: Made) -> Self {
        let said = |state, provider_ref: RefundId, code| Self {
            state,
            provider_ref: Some(provider_ref.to_string()),
            code,
        };
        match made {
            Made::Refunded { provider_ref } => said(RefundState::Succeeded, provider_ref, None),
            Made::Pending { provider_ref } => said(RefundState::Pending, provider_ref, None),
            Made::Failed { provider_ref, reason } => {
                said(RefundState::Failed, provider_ref, Some(reason))
            }
            Made::Refused { code } => {
                Self { state: RefundState::Refused, provider_ref: None, code: Some(code) }
            }
        }
    }
}

impl From<Refund> for Said {
    fn from(refund: Refund) -> Self {
        let (state, unsaid) = match refund.status {
            RefundStatus::Succeeded => (RefundState::Succeeded, None),
            RefundStatus::Pending | RefundStatus::RequiresAction => (RefundState::Pending, None),
            RefundStatus::Failed => (RefundState::Failed, Some("unknown")),
            RefundStatus::Canceled => (RefundState::Failed, Some("canceled")),
        };
        let code = unsaid.map(|unsaid| refund.failure_reason.unwrap_or_else(|| unsaid.to_owned()));
        Self { state, provider_ref: Some(refund.id.to_string()), code }
    }
}

fn id(reference: &str) -> Result<RefundId, Trouble> {
    reference.to_owned().try_into().map_err(|_| Trouble::BadReference(reference.to_owned()))
}

#[activities]
impl Refunds {
    #[activity(definition = contract::Request)]
    pub async fn request(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: RefundRequest,
    ) -> Result<RefundReply, ActivityError> {
        heartbeat::during(&ctx, self.write_request(input)).await.map_err(failure::database)
    }

    #[activity(definition = contract::SettleRefund)]
    pub async fn settle_refund(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SettleRefundInput,
    ) -> Result<RefundOutcome, ActivityError> {
        Ok(heartbeat::during(&ctx, self.make_or_look(input)).await?)
    }
}
