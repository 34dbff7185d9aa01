//! Where a checkout stands, for its client, its operator and the engine's own screens.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Attempt, CheckoutState, Money, Problem};
use serde::{Deserialize, Serialize};
use temporalio_common::search_attributes::{
    SearchAttributeKey, SearchAttributeUpdate, SearchAttributes, Timestamp,
};

use super::CheckoutInput;

const FAILURE_REASON: SearchAttributeKey<String> =
    SearchAttributeKey::<String>::keyword("FailureReason");
const HOLD_EXPIRES_AT: SearchAttributeKey<Timestamp> =
    SearchAttributeKey::<Timestamp>::datetime("HoldExpiresAt");
const AMOUNT_MINOR: SearchAttributeKey<i64> = SearchAttributeKey::<i64>::int("AmountMinor");

/// What the customer must do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NextAction {
    /// Choose how to pay.
    SubmitPayment,
    /// Confirm with the bank (3-D Secure).
    Redirect {
        /// Where.
        url: String,
    },
}

/// Where a checkout stands. It carries no personal data: it is written into the engine's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutStatus {
    stage: CheckoutState,
    /// What it costs, once priced.
    pub total: Option<Money>,
    /// How many SKUs are bought, once priced.
    pub lines: u32,
    /// Until when the stock is held, while it is.
    pub expires_at: Option<DateTime<Utc>>,
    /// The payment attempts begun.
    pub attempts: Attempt,
    /// What the customer must do next, if anything.
    pub next_action: Option<NextAction>,
    /// Why it did not sell; while it still may, why the last payment attempt did not succeed.
    pub problem: Option<Problem>,
    /// What does not finish, while something does not.
    pub attention: Option<String>,
}

impl CheckoutStatus {
    /// Under which the states are published that an operator would filter by.
    pub const STATE: SearchAttributeKey<String> =
        SearchAttributeKey::<String>::keyword("CheckoutState");

    pub(super) fn new() -> Self {
        Self {
            stage: CheckoutState::Validating,
            total: None,
            lines: 0,
            expires_at: None,
            attempts: 0,
            next_action: None,
            problem: None,
            attention: None,
        }
    }

    /// The state that clients see.
    pub fn state(&self) -> CheckoutState {
        if self.attention.is_some() { CheckoutState::NeedsAttention } else { self.stage }
    }

    /// The step it is at, whether or not that step needs attention.
    pub(super) fn stage(&self) -> CheckoutState {
        self.stage
    }

    /// Whether it is over, or waits for somebody: when a client that waits should be answered.
    pub(super) fn rests(&self) -> bool {
        match self.state() {
            CheckoutState::AwaitingPayment
            | CheckoutState::ActionRequired
            | CheckoutState::Completed
            | CheckoutState::Failed
            | CheckoutState::Cancelled
            | CheckoutState::Expired
            | CheckoutState::NeedsAttention => true,
            CheckoutState::Validating
            | CheckoutState::Reserving
            | CheckoutState::Authorizing
            | CheckoutState::Placing
            | CheckoutState::Capturing
            | CheckoutState::Compensating => false,
        }
    }

    pub(super) fn enter(&mut self, stage: CheckoutState) {
        self.stage = stage;
        self.next_action = match stage {
            CheckoutState::AwaitingPayment => Some(NextAction::SubmitPayment),
            _ => None,
        };
        if stage == CheckoutState::Completed {
            self.problem = None;
            self.expires_at = None;
        }
    }

    pub(super) fn opened(&mut self, total: Money, lines: u32) {
        self.total = Some(total);
        self.lines = lines;
    }

    pub(super) fn held_until(&mut self, expires_at: DateTime<Utc>) {
        self.expires_at = Some(expires_at);
    }

    pub(super) fn declined(&mut self, decline_code: String) {
        self.problem = Some(Problem::PaymentDeclined { decline_code });
    }

    pub(super) fn redirect(&mut self, url: String) {
        self.stage = CheckoutState::ActionRequired;
        self.next_action = Some(NextAction::Redirect { url });
    }

    pub(super) fn end(&mut self, problem: Problem) {
        self.enter(problem.final_state());
        self.expires_at = None;
        self.problem = Some(problem);
    }

    pub(super) fn attention(&mut self, about: Option<String>) {
        self.attention = about;
    }

    /// The search attributes that this status changes, given those that are set.
    pub(super) fn search_attributes(
        &self,
        previous: &SearchAttributes,
    ) -> Vec<SearchAttributeUpdate> {
        let state = self.state();
        let shown = state.finished()
            || matches!(
                state,
                CheckoutState::AwaitingPayment | CheckoutState::ActionRequired | CheckoutState::NeedsAttention
            )
            // Whatever left one of those must not go on being found under its name.
            || previous.get(&Self::STATE).is_some_and(|name| name == CheckoutState::NeedsAttention.as_str());
        if !shown || previous.get(&Self::STATE).as_deref() == Some(state.as_str()) {
            return Vec::new();
        }
        let mut updates = vec![Self::STATE.value_set(state.as_str().to_owned())];
        if let (Some(total), None) = (self.total, previous.get(&AMOUNT_MINOR)) {
            updates.push(AMOUNT_MINOR.value_set(total.minor()));
        }
        // Never unset: the server refuses the empty value that this takes, and with it the whole task.
        if let Some(at) = self.expires_at {
            updates
                .push(HOLD_EXPIRES_AT.value_set(Timestamp::from(std::time::SystemTime::from(at))));
        }
        // For the same reason only what is over has a reason: a payment that was declined may yet
        // be followed by one that is not.
        if let (Some(problem), true) = (&self.problem, state.finished()) {
            updates.push(FAILURE_REASON.value_set(problem.code().to_owned()));
        }
        updates
    }

    /// The page an operator reads in the engine's web UI.
    pub(super) fn to_markdown(&self, input: &CheckoutInput) -> String {
        let amount =
            self.total.map_or_else(|| "not priced yet".to_owned(), |total| total.to_string());
        let deadline = self
            .expires_at
            .map_or_else(|| "none".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let problem = self.problem.as_ref().map_or("none", Problem::code);
        let attention = self.attention.as_deref().unwrap_or("nothing");
        format!(
            "| | |\n|---|---|\n| state | **{}** |\n| order | {} |\n| amount | {amount}, {} SKUs |\n\
             | payment | {}, {} attempts |\n| stock held until | {deadline} |\n\
             | problem | {problem} |\n| needs attention | {attention} |\n",
            self.state().as_str(),
            input.checkout_id.order(),
            self.lines,
            input.checkout_id.payment(),
            self.attempts,
        )
    }
}
