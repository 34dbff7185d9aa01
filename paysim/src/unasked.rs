//! What happens to a payment without an API request: the buyer answers her bank, an authorization
//! lapses, a refund gets its last word. Each is decided on the state as it stands and decided anew when the state has moved.

use chrono::Utc;

use crate::{
    app::App,
    error::ApiError,
    event::Cause,
    execute::Failure,
    intent::{Change, Intent, Outcome},
    record::record,
    refund::{Refund, RefundStatus},
};

/// How often a change is computed anew because the intent moved under it.
const ATTEMPTS_MAX: u32 = 16;

/// How an answer to 3-D Secure was received.
#[derive(Debug)]
pub(crate) enum Authentication {
    Received(Intent),
    /// The intent does not wait for the buyer, be it that the answer was given before.
    NotAwaited(Intent),
}

pub(crate) async fn authenticate(
    app: &App,
    id: &str,
    passed: bool,
) -> Result<Authentication, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let intent = find(app, id).await?;
        let Some(outcome) = intent.clone().authenticate(passed) else {
            return Ok(Authentication::NotAwaited(intent));
        };
        if let Some(change) = save(app, outcome).await? {
            return Ok(Authentication::Received(change.intent));
        }
    }
    Err(ApiError::lock_timeout().into())
}

/// Lets an authorization lapse, as issuers do after about a week.
pub(crate) async fn lapse(app: &App, id: &str) -> Result<Intent, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let outcome = find(app, id).await?.lapse(Utc::now());
        if let Some(change) = save(app, outcome).await? {
            return Ok(change.intent);
        }
    }
    Err(ApiError::lock_timeout().into())
}

/// Gives a refund its last word; by default the one its card was made for.
pub(crate) async fn settle_refund(
    app: &App,
    id: &str,
    to: Option<RefundStatus>,
) -> Result<Refund, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let intent = find(app, &find_refund(app, id).await?.payment_intent).await?;
        // Read after its intent: should it change from here on, the intent's version has changed too
        // and nothing is saved.
        let refund = find_refund(app, id).await?;
        let to = to.or(refund.settles_to).ok_or_else(|| {
            ApiError::invalid(None, format!("Nothing more becomes of the refund {id} by itself."))
        })?;
        if let Some(Change { refund: Some(refund), .. }) =
            save(app, intent.settle(refund, to)).await?
        {
            return Ok(refund);
        }
    }
    Err(ApiError::lock_timeout().into())
}

pub(crate) async fn find_refund(app: &App, id: &str) -> Result<Refund, Failure> {
    let refund = app.store.refund_find(id).await?;
    Ok(refund.ok_or_else(|| ApiError::no_such("refund", id))?)
}

pub(crate) async fn find(app: &App, id: &str) -> Result<Intent, Failure> {
    let loaded = app.store.load(id, None).await?;
    Ok(loaded.intent.ok_or_else(|| ApiError::no_such("payment_intent", id))?)
}

/// `None` when the intent has moved on since it was read.
async fn save(app: &App, outcome: Outcome) -> Result<Option<Change>, Failure> {
    match outcome {
        Outcome::Done(change) | Outcome::Declined(change, _) => {
            let saved = record(app, &change, None, Cause::default(), Utc::now()).await?;
            Ok(saved.then_some(change))
        }
        Outcome::Refused(_, error) => Err(error.into()),
    }
}
