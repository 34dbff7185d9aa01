//! The GETs of intents and refunds: one, lists, search.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use super::{
    call::{Call, Id},
    failure_response, json_response,
    paging::{cut_to, limit, list, listed},
    read_faults::meet_fault,
    search_query::parse_query,
};
use crate::{
    app::App,
    command::PAYMENT_ID_METADATA_KEY,
    error::ApiError,
    intent::Intent,
    refund::Refund,
    store::RefundFilter,
    unasked::{find, find_refund},
    view::{Answer, intent_view, page, refund_view},
};

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
        let asked = listed(&call.form, &[])?;
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        let intents = app.store.intents_list(&asked).await?;
        let view = |intent: &Intent| json!(intent_view(intent, &app.public_url));
        Ok(json_response(list("/v1/payment_intents", &asked, intents, view)))
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

pub(super) async fn retrieve_refund(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Response {
    let answer = async {
        call.form.only(&["expand"])?;
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        Ok(json_response(Answer::ok(&refund_view(&find_refund(&app, &id).await?))))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}

pub(super) async fn list_refunds(State(app): State<Arc<App>>, call: Call) -> Response {
    let answer = async {
        let asked = listed(&call.form, &["charge", "payment_intent"])?;
        let filter = RefundFilter {
            payment_intent: call.form.text("payment_intent")?,
            charge: call.form.text("charge")?,
        };
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        let refunds = app.store.refunds_list(filter, &asked).await?;
        let view = |refund: &Refund| json!(refund_view(refund));
        Ok(json_response(list("/v1/refunds", &asked, refunds, view)))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}
