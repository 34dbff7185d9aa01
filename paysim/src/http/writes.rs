//! The POSTs that change intents. Each is parsed, then executed in a task of its own.

use std::sync::Arc;

use axum::{extract::State, http::HeaderValue, response::Response};

use super::{
    call::{Call, Id},
    failure_response, json_response,
};
use crate::{
    app::App,
    command::Command,
    error::ApiError,
    execute::{Failure, Reply, Request, execute},
    intent::new_id,
};

pub(super) async fn create(State(app): State<Arc<App>>, call: Call) -> Response {
    let command = Command::create(&call.form);
    run(app, call, command).await
}

pub(super) async fn confirm(State(app): State<Arc<App>>, Id(id): Id, call: Call) -> Response {
    let command = Command::confirm(id, &call.form);
    run(app, call, command).await
}

pub(super) async fn capture(State(app): State<Arc<App>>, Id(id): Id, call: Call) -> Response {
    let command = Command::capture(id, &call.form);
    run(app, call, command).await
}

pub(super) async fn cancel(State(app): State<Arc<App>>, Id(id): Id, call: Call) -> Response {
    let command = Command::cancel(id, &call.form);
    run(app, call, command).await
}

pub(super) async fn refund(State(app): State<Arc<App>>, call: Call) -> Response {
    let command = Command::refund(&call.form);
    run(app, call, command).await
}

/// Executes and names the request in the answer, by the id that its events bear.
async fn run(app: Arc<App>, call: Call, command: Result<Command, ApiError>) -> Response {
    let id = new_id("req");
    let mut response = answer(app, call, command, &id).await;
    let id = HeaderValue::try_from(id).expect("an id is a prefix and hex digits");
    response.headers_mut().insert("request-id", id);
    response
}

async fn answer(
    app: Arc<App>,
    call: Call,
    command: Result<Command, ApiError>,
    id: &str,
) -> Response {
    let request = command.and_then(|command| {
        let fault = call.fault(command.operations())?;
        Ok(Request { id: id.to_owned(), key: call.key()?, fault, command })
    });
    let request = match request {
        Ok(request) => request,
        Err(error) => return failure_response(&error.into()),
    };
    // A task of its own: a network does not stop working on a request because its caller hung up.
    let task = tokio::spawn({
        let app = Arc::clone(&app);
        let place = call.place;
        async move { (execute(&app, &request).await, place) }
    });
    let (reply, _place) = match task.await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a request's task failed");
            return failure_response(&Failure::Api(ApiError::internal()));
        }
    };
    match reply {
        Ok(Reply::Answer { answer, replayed }) => {
            let mut response = json_response(answer);
            if replayed {
                let replayed = HeaderValue::from_static("true");
                response.headers_mut().insert("idempotent-replayed", replayed);
            }
            response
        }
        Ok(Reply::HoldThenCut { delay_ms }) => {
            app.hold(delay_ms).await;
            call.cut.throw();
            Response::default()
        }
        Err(failure) => failure_response(&failure),
    }
}
