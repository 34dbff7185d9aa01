//! What is told of a refund of ours: its workflow is woken, and looks. A refund that fails long after it
//! seemed done may have none any more; it is looked at here.

use activities::Refunds;
use anyhow::Context as _;
use domain::{RefundId, RefundState};
use store::inbox::{NamedRefund, Waiting};
use temporalio_client::{Client, WorkflowSignalOptions, errors::WorkflowInteractionError};
use workflows::RefundWorkflow;

use super::Delivered;

/// How often an arrival waits for the step under way, a second each: for longer than its quick try takes.
const WAITS_MAX: u32 = 5;

/// What is to be done about an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// The refund is to be looked at.
    Look,
    /// The step under way asks the provider anyway, and a message in the middle of its quick try would
    /// have the engine refuse what it has done so far.
    Wait,
    /// Our books have the last word on this already.
    Nothing,
}

/// Decides by our books alone.
fn todo(refund: &NamedRefund, tries: u32) -> Todo {
    match refund.state {
        RefundState::Requested if tries <= WAITS_MAX => Todo::Wait,
        RefundState::Requested | RefundState::Pending | RefundState::Succeeded => Todo::Look,
        RefundState::Failed | RefundState::Refused => Todo::Nothing,
    }
}

pub(super) async fn deliver(
    client: &Client,
    refunds: &Refunds,
    arrival: &Waiting,
    refund: &NamedRefund,
) -> anyhow::Result<Delivered> {
    match todo(refund, arrival.tries) {
        Todo::Look => {
            if !wake(client, refund.id, &arrival.event_id).await? {
                let state = refunds.look(refund.id).await?.as_str();
                let id = refund.id;
                tracing::warn!(refund.id = %id, "{id} was told of after its workflow was over, and is {state}");
            }
        }
        Todo::Wait => return Ok(Delivered::NotYet),
        Todo::Nothing => {}
    }
    tell_of_strays(refund);
    Ok(Delivered::Done)
}

/// Whether there is a workflow to wake.
async fn wake(client: &Client, id: RefundId, event_id: &str) -> anyhow::Result<bool> {
    let handle = client.get_workflow_handle::<RefundWorkflow>(id.to_string());
    let options = WorkflowSignalOptions::builder().request_id(event_id.to_owned()).build();
    match handle.signal(RefundWorkflow::look, (), options).await {
        Ok(()) => Ok(true),
        Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
        Err(error) => Err(error).context("the engine did not wake the refund"),
    }
}

/// Money that went back under our refund's name, by another refund than the one that we noted, or although
/// we were told that there is none.
fn tell_of_strays(refund: &NamedRefund) {
    let NamedRefund { id, state, noted_ref, told_ref } = refund;
    if let Some(told) = told_ref
        && noted_ref.as_ref() != Some(told)
        && *state != RefundState::Requested
    {
        let state = state.as_str();
        tracing::error!(refund.id = %id, "{told} says it is {id}, which is {state} and not that one");
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_refund_is_looked_at_until_its_last_word_and_not_in_the_middle_of_its_step() {
        let refund = |state| NamedRefund {
            id: Uuid::from_u128(7).into(),
            state,
            noted_ref: None,
            told_ref: None,
        };
        for (state, tries, expected) in [
            (RefundState::Requested, 1, Todo::Wait),
            (RefundState::Requested, WAITS_MAX, Todo::Wait),
            (RefundState::Requested, WAITS_MAX + 1, Todo::Look),
            (RefundState::Pending, 1, Todo::Look),
            (RefundState::Succeeded, 1, Todo::Look),
            (RefundState::Failed, 1, Todo::Nothing),
            (RefundState::Refused, 1, Todo::Nothing),
        ] {
            assert_eq!(todo(&refund(state), tries), expected, "{state:?} {tries}");
        }
    }
}
