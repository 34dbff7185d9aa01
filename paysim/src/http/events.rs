//! The GETs of events: one, and the list by which a merchant finds what no delivery brought.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{
    call::{Call, Id},
    failure_response, json_response,
    paging::{list, listed},
    read_faults::meet_fault,
};
use crate::{app::App, error::ApiError, view::Answer};

pub(super) async fn retrieve_event(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Response {
    let answer = async {
        call.form.only(&["expand"])?;
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        let event = app.store.event_find(&id).await?;
        let event = event.ok_or_else(|| ApiError::no_such("event", &id))?;
        Ok(json_response(Answer::ok(&event)))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}

pub(super) async fn list_events(State(app): State<Arc<App>>, call: Call) -> Response {
    let answer = async {
        let asked = listed(&call.form, &["type"])?;
        // A type that never happens here is one of which there are no events.
        let kind = call.form.text("type")?;
        if let Some(response) = meet_fault(&app, &call, None, None).await? {
            return Ok(response);
        }
        let events = app.store.events_list(kind, &asked).await?;
        Ok(json_response(list("/v1/events", &asked, events, Value::clone)))
    };
    answer.await.unwrap_or_else(|failure| failure_response(&failure))
}
