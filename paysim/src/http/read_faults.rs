//! Faults that strike reads: which one, and what it makes of the answer.

use axum::response::Response;
use chrono::Utc;

use super::{call::Call, error_response};
use crate::{
    app::App,
    command::{PAYMENT_ID_METADATA_KEY, planned_fault},
    error::ApiError,
    execute::Failure,
    fault::{Fault, Kind, Operation, Target},
    intent::Intent,
};

/// What a fault makes of a read, if one strikes and leaves no answer. A list or a search may find no
/// intent, so it meets only the faults of its header and those armed for what it asks about.
pub(super) async fn meet_fault(
    app: &App,
    call: &Call,
    intent: Option<&Intent>,
    payment_id: Option<&str>,
) -> Result<Option<Response>, Failure> {
    let Some(fault) = choose(app, call, intent, payment_id).await? else {
        return Ok(None);
    };
    tracing::info!(
        fault.kind = fault.kind.as_str(),
        "fault {} strikes a read",
        fault.kind.as_str()
    );
    let delay_ms = fault.delay_ms(app.faults.hold_ms);
    // There is no effect to come before or after.
    Ok(match fault.kind {
        Kind::TimeoutBefore | Kind::TimeoutAfter => {
            app.hold(delay_ms).await;
            call.cut.throw();
            Some(Response::default())
        }
        Kind::ErrorBefore | Kind::ErrorAfter => Some(error_response(&ApiError::internal())),
        Kind::Slow => {
            app.hold(delay_ms).await;
            None
        }
        Kind::Refuse => None,
    })
}

async fn choose(
    app: &App,
    call: &Call,
    intent: Option<&Intent>,
    payment_id: Option<&str>,
) -> Result<Option<Fault>, Failure> {
    const OPERATIONS: &[Operation] = &[Operation::Retrieve];
    if let Some(fault) = call.fault(OPERATIONS)? {
        return Ok(Some(fault));
    }
    let known = intent.and_then(|intent| intent.metadata.get(PAYMENT_ID_METADATA_KEY));
    let payment_id = known.map(String::as_str).or(payment_id);
    let target = Target { operations: OPERATIONS, payment_id, replay: false };
    if let Some(fault) = app.faults.take_armed(target) {
        return Ok(Some(fault));
    }
    if let Some(intent) = intent
        && let Some((operation, fault)) = planned_fault(&intent.metadata, OPERATIONS)
        && app.store.fault_fire(&intent.id, operation.as_str(), Utc::now()).await?
    {
        return Ok(Some(fault));
    }
    Ok(None)
}
