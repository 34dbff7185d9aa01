//! The GETs of the API: one intent, lists, search.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use chrono::Utc;
use serde_json::Value;

use super::{
    call::{Call, Id},
    error_response, failure_response, json_response,
};
use crate::{
    app::App,
    command::{PAYMENT_ID_METADATA_KEY, planned_fault},
    error::ApiError,
    execute::Failure,
    fault::{Fault, Kind, Operation, Target},
    form::Form,
    intent::Intent,
    view::{Answer, intent_view, page, refund_view},
};

const LIMIT_DEFAULT: i64 = 10;
const LIMIT_MAX: i64 = 100;
const SEARCH_TERMS_MAX: usize = 10;

pub(super) async fn retrieve_intent(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Response {
    let answer = async {
        call.form.only(&["client_secret", "expand"])?;
        let intent = find(&app, &id).await?;
        if let Some(response) = meet_fault(&app, &call, Some(&intent), None).await? {
            return Ok(response);
        }
        // Read again: a slow answer tells the state at its end.
        let intent = find(&app, &id).await?;
        Ok(json_response(Answer::ok(&intent_view(&intent, &app.public_url))))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}

pub(super) async fn list_intents(State(app): State<Arc<App>>, call: Call) -> Response {
    let answer = async {
        call.form.only(&["limit", "starting_after", "expand"])?;
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        let limit = limit(&call.form)?;
        let before = call.form.text("starting_after")?;
        let mut intents = app.store.intents_list(before, limit + 1).await?;
        let has_more = cut_to(&mut intents, limit);
        let data: Vec<_> =
            intents.iter().map(|intent| intent_view(intent, &app.public_url)).collect();
        Ok(json_response(Answer::ok(&page("list", "/v1/payment_intents", &data, has_more))))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}

pub(super) async fn search_intents(State(app): State<Arc<App>>, call: Call) -> Response {
    let answer = async {
        call.form.only(&["query", "limit", "page", "expand"])?;
        let query = call.form.text("query")?.ok_or_else(|| ApiError::missing_param("query"))?;
        let terms = parse_query(query).ok_or_else(|| {
            let message = "The query is not understood: only metadata['key']:'value' is, and several of \
                           them joined by AND.";
            ApiError::invalid(None, message).with_param("query")
        })?;
        let payment_id = terms.get(PAYMENT_ID_METADATA_KEY).map(String::as_str);
        if let Some(response) = meet_fault(&app, &call, None, payment_id).await? {
            return Ok(response);
        }
        let limit = limit(&call.form)?;
        let before = call.form.text("page")?;
        let mut intents = app.store.intents_search(&terms, before, limit + 1).await?;
        let has_more = cut_to(&mut intents, limit);
        let data: Vec<_> =
            intents.iter().map(|intent| intent_view(intent, &app.public_url)).collect();
        let mut page = page("search_result", "/v1/payment_intents/search", &data, has_more);
        page["next_page"] = match intents.last() {
            Some(last) if has_more => Value::from(&*last.id),
            Some(_) | None => Value::Null,
        };
        Ok(json_response(Answer::ok(&page)))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}

pub(super) async fn list_refunds(State(app): State<Arc<App>>, call: Call) -> Response {
    let answer = async {
        call.form.only(&["payment_intent", "limit", "starting_after", "expand"])?;
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        let limit = limit(&call.form)?;
        let intent = call.form.text("payment_intent")?;
        let before = call.form.text("starting_after")?;
        let mut refunds = app.store.refunds_list(intent, before, limit + 1).await?;
        let has_more = cut_to(&mut refunds, limit);
        let data: Vec<_> = refunds.iter().map(refund_view).collect();
        Ok(json_response(Answer::ok(&page("list", "/v1/refunds", &data, has_more))))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}

async fn find(app: &App, id: &str) -> Result<Intent, Failure> {
    let loaded = app.store.load(id, None).await?;
    Ok(loaded.intent.ok_or_else(|| ApiError::no_such("payment_intent", id))?)
}

/// What a fault makes of a read, if one strikes and leaves no answer. A list or a search may find no
/// intent, so it meets only the faults of its header and those armed for what it asks about.
async fn meet_fault(
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

fn limit(form: &Form) -> Result<i64, ApiError> {
    match form.integer("limit")? {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => {
            let message = format!("The limit must be from 1 to {LIMIT_MAX}.");
            Err(ApiError::invalid_param("limit", "parameter_invalid_integer", message))
        }
    }
}

/// One row more than asked for was read, to know whether there is more.
fn cut_to<T>(rows: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).expect("a limit of at most 100 fits");
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    has_more
}

/// `metadata['key']:'value'`, joined by AND. Both quotes are understood, a backslash escapes.
fn parse_query(query: &str) -> Option<BTreeMap<String, String>> {
    let mut terms = BTreeMap::new();
    let mut rest = query.trim();
    loop {
        rest = rest.strip_prefix("metadata[")?;
        let (key, after) = quoted(rest)?;
        rest = after.strip_prefix(']')?.trim_start().strip_prefix(':')?.trim_start();
        let (value, after) = quoted(rest)?;
        // Two different values of one key can match nothing Stripe would call a query either.
        if terms.insert(key, value).is_some() || terms.len() > SEARCH_TERMS_MAX {
            return None;
        }
        if after.trim().is_empty() {
            return Some(terms);
        }
        let and = after.trim_start();
        let joined = and.len() < after.len() && and.get(..3)?.eq_ignore_ascii_case("AND");
        rest = joined.then(|| &and[3..])?.strip_prefix(' ')?.trim_start();
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, char)) = chars.next() {
        match char {
            '\\' => inside.push(chars.next()?.1),
            char if char == quote => return Some((inside, &text[index + 1..])),
            char => inside.push(char),
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_metadata_terms_joined_by_and() {
        let terms = parse_query("metadata['payment_id']:'pay_1'").unwrap();
        assert_eq!(terms["payment_id"], "pay_1");
        let terms = parse_query(r#"metadata["a"]:"it's" AND metadata['b'] : 'x\'y'"#).unwrap();
        assert_eq!((&*terms["a"], &*terms["b"]), ("it's", "x'y"));
    }

    #[test]
    fn what_is_not_understood_is_refused_rather_than_ignored() {
        for bad in [
            "",
            "status:'succeeded'",
            "metadata['a']",
            "metadata['a']:'b",
            "metadata['a']:'b' OR metadata['c']:'d'",
            "metadata['a']:'b' AND",
            "metadata['a']:'b' metadata['c']:'d'",
            "metadata['a']:'b' AND metadata['a']:'c'",
            "-metadata['a']:'b'",
        ] {
            assert_eq!(parse_query(bad), None, "{bad}");
        }
    }
}
