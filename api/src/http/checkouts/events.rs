//! `/v1/checkouts/{id}/events`: the checkout as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use domain::CheckoutId;
use futures::{Stream, StreamExt};

use crate::{
    error::{Error, Problem},
    http::{
        extract::{Caller, Named},
        view::CheckoutBody,
    },
    service::{Service, checkout::Checkout},
};

/// How often a silent stream shows that it lives, so that no proxy ends it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The checkout as it is, and again at every change until it has ended, as events named `checkout`.
/// After ten minutes the stream ends anyway.
#[utoipa::path(
    get,
    path = "/v1/checkouts/{id}/events",
    tag = "checkouts",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "Events named `checkout`; should it fail, one named `problem`", body = CheckoutBody, content_type = "text/event-stream"),
        (status = "4XX", description = "unauthenticated, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::http) async fn events(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(id): Named<CheckoutId>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let changes = service.checkout_watch(caller, id).await?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    Ok(Sse::new(changes.map(|change| Ok(event(change)))).keep_alive(keep_alive))
}

fn event(change: Result<Checkout, Error>) -> Event {
    let written = match change {
        Ok(checkout) => Event::default().event("checkout").json_data(CheckoutBody::from(checkout)),
        Err(error) => Event::default().event("problem").json_data(error.into_problem()),
    };
    written.expect("our own types are JSON")
}
