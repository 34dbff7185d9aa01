//! How a refund stands, for whoever asked for it, its operator and the engine's own screens.

use domain::{Money, RefundProblem, RefundState};
use serde::{Deserialize, Serialize};
use temporalio_common::search_attributes::{
    SearchAttributeKey, SearchAttributeUpdate, SearchAttributes,
};

use super::RefundInput;

const STATE: SearchAttributeKey<String> = SearchAttributeKey::<String>::keyword("RefundState");
const NEEDS_ATTENTION: &str = "needs_attention";
const AMOUNT_MINOR: SearchAttributeKey<i64> = SearchAttributeKey::<i64>::int("AmountMinor");

/// How a refund stands. It carries no personal data: it is written into the engine's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundStatus {
    /// As far as the provider's word is in.
    pub state: RefundState,
    /// How much goes back, once that is written down.
    pub amount: Option<Money>,
    /// Why it failed or was refused by the provider, if it was.
    pub code: Option<String>,
    /// Why it was not taken on, if it was not.
    pub problem: Option<RefundProblem>,
    /// What does not finish, while something does not.
    pub attention: Option<String>,
}

impl RefundStatus {
    pub(super) fn new() -> Self {
        Self {
            state: RefundState::Requested,
            amount: None,
            code: None,
            problem: None,
            attention: None,
        }
    }

    /// Whether there is a word on it: when somebody who waits should be answered.
    pub(super) fn rests(&self) -> bool {
        self.state != RefundState::Requested || self.problem.is_some() || self.attention.is_some()
    }

    pub(super) fn taken(&mut self, amount: Money, state: RefundState) {
        self.amount = Some(amount);
        self.state = state;
    }

    pub(super) fn not_taken(&mut self, problem: RefundProblem) {
        self.problem = Some(problem);
    }

    pub(super) fn hear(&mut self, state: RefundState, code: Option<String>) {
        self.state = state;
        self.code = code;
        self.attention = None;
    }

    /// The search attributes that this status adds to those that are set.
    pub(super) fn search_attributes(
        &self,
        previous: &SearchAttributes,
    ) -> Vec<SearchAttributeUpdate> {
        match (self.amount, previous.get(&AMOUNT_MINOR)) {
            (Some(amount), None) => vec![AMOUNT_MINOR.value_set(amount.minor())],
            _ => Vec::new(),
        }
    }

    /// The change to where it stands, as that is set, if it begins or ceases to need attention. What needs none
    /// is found by its row, and not shown.
    pub(super) fn alarm(&self, previous: &SearchAttributes) -> Option<SearchAttributeUpdate> {
        let shown = previous.get(&STATE).is_some_and(|state| state == NEEDS_ATTENTION);
        let state = if self.attention.is_some() { NEEDS_ATTENTION } else { self.state.as_str() };
        (shown != self.attention.is_some()).then(|| STATE.value_set(state.to_owned()))
    }

    /// The page an operator reads in the engine's web UI.
    pub(super) fn to_markdown(&self, input: &RefundInput) -> String {
        let amount =
            self.amount.map_or_else(|| "not decided yet".to_owned(), |amount| amount.to_string());
        let state = match &self.problem {
            Some(problem) => problem.code(),
            None => self.state.as_str(),
        };
        let why = self.code.as_deref().unwrap_or("none");
        let attention = self.attention.as_deref().unwrap_or("nothing");
        format!(
            "| | |\n|---|---|\n| state | **{state}** |\n| order | {} |\n| amount | {amount} |\n\
             | reason | {} |\n| reference | {} |\n| provider's code | {why} |\n\
             | needs attention | {attention} |\n",
            input.order_id, input.reason, input.reference,
        )
    }
}
