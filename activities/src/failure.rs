//! The two ways for an activity to fail: trouble that may pass, and a bug.

use std::error::Error;

use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;

/// A failure that no retry will mend. The workflow decides what becomes of the checkout.
pub fn fatal(kind: &str, error: &(dyn Error + 'static)) -> ActivityError {
    tracing::error!(error = %chain(error), "{kind}: a step cannot succeed");
    let failure = ApplicationFailure::builder(chain(error))
        .type_name(kind.to_owned())
        .non_retryable(true)
        .build();
    ActivityError::application(failure)
}

/// The database's trouble: worth another try, unless it is a broken invariant.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub fn database(error: store::Error) -> ActivityError {
    if error.transient() {
        anyhow::anyhow!(chain(&error)).into()
    } else {
        fatal("broken_invariant", &error)
    }
}

/// An error and what is below it, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text.push_str(": ");
        text.push_str(&below.to_string());
        source = below.source();
    }
    text
}
