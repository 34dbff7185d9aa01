//! The life of one POST: claim its key, load, meet a fault, apply, save, answer. What commands mean
//! stands in `intent`; how requests arrive and leave, in `http`.

use chrono::Utc;

use crate::{
    app::App,
    command::{Command, PAYMENT_ID_METADATA_KEY, planned_fault},
    error::ApiError,
    event::Cause,
    fault::{Fault, Kind, Target, strikes},
    idempotency::Key,
    intent::{Intent, Outcome},
    record::record,
    store::{Error, KeyRow, Loaded, StoredAnswer},
    view::Answer,
};

/// How often a change is computed anew because the intent moved under it.
const ATTEMPTS_MAX: u32 = 16;

/// A checked POST.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) command: Command,
    pub(crate) key: Option<Key>,
    /// The fault its header asks for.
    pub(crate) fault: Option<Fault>,
}

/// What the client gets.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer {
        answer: Answer,
        replayed: bool,
    },
    /// Nothing, after a while.
    HoldThenCut {
        delay_ms: u64,
    },
}

/// Why there is no answer to keep.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] Error),
}

pub(crate) async fn execute(app: &App, request: &Request) -> Result<Reply, Failure> {
    let Request { command, key, .. } = request;
    let _claim = match key {
        Some(key) => Some(
            app.in_flight
                .claim(&key.value)
                .ok_or_else(|| ApiError::idempotency_key_in_use(&key.value))?,
        ),
        None => None,
    };
    let seeded = app.faults.next_seeded();
    // A create has nothing to load, so its key is looked up only when a fault might strike (which a
    // replay would meet differently) or when the write found the key taken.
    let mut look_up = request.fault.is_some()
        || seeded.is_some()
        || app.faults.any_armed()
        || request.planned().is_some();
    let mut fault = None;
    let mut fault_chosen = false;
    for _ in 0..ATTEMPTS_MAX {
        let Loaded { intent, stored } = load(app, request, look_up).await?;
        look_up = true;
        if let (Some(key), Some(stored)) = (key, stored) {
            if stored.created_at + app.key_lifetime < Utc::now() {
                app.store.key_forget(&key.value, Utc::now() - app.key_lifetime).await?;
                continue;
            }
            return replay(app, request, intent.as_ref(), key, stored, seeded).await;
        }
        let intent = match (command.intent(), intent) {
            (Some(id), None) => return Err(ApiError::no_such("payment_intent", id).into()),
            (_, intent) => intent,
        };
        if !fault_chosen {
            fault_chosen = true;
            fault = choose(app, request, intent.as_ref(), false, seeded).await?;
            if let Some(fault) = fault {
                log_fault(command, intent.as_ref(), fault);
                let delay_ms = fault.delay_ms(app.faults.hold_ms);
                match fault.kind {
                    Kind::TimeoutBefore => return Ok(Reply::HoldThenCut { delay_ms }),
                    Kind::Slow => {
                        app.hold(delay_ms).await;
                        continue;
                    }
                    Kind::TimeoutAfter | Kind::ErrorBefore | Kind::ErrorAfter | Kind::Refuse => {}
                }
            }
        }
        let Some(answer) =
            apply_and_save(app, request, intent, fault.map(|fault| fault.kind)).await?
        else {
            continue;
        };
        return Ok(match fault {
            Some(fault) if fault.kind == Kind::TimeoutAfter => {
                Reply::HoldThenCut { delay_ms: fault.delay_ms(app.faults.hold_ms) }
            }
            Some(_) | None => Reply::Answer { answer, replayed: false },
        });
    }
    Err(ApiError::lock_timeout().into())
}

impl Request {
    fn planned(&self) -> Option<Fault> {
        match &self.command {
            Command::Create(create) => {
                planned_fault(&create.metadata, self.command.operations()).map(|(_, fault)| fault)
            }
            // Found on the intent, once it is loaded.
            Command::Confirm { .. }
            | Command::Capture { .. }
            | Command::Cancel { .. }
            | Command::Refund { .. } => None,
        }
    }
}

async fn load(app: &App, request: &Request, look_up: bool) -> Result<Loaded, Error> {
    let key = request.key.as_ref().map(|key| &*key.value);
    match (request.command.intent(), key) {
        (Some(id), key) => app.store.load(id, key).await,
        (None, Some(key)) if look_up => {
            Ok(Loaded { intent: None, stored: app.store.key_find(key).await? })
        }
        (None, _) => Ok(Loaded { intent: None, stored: None }),
    }
}

/// The first answer again, word for word; a bad line can lose it again too.
async fn replay(
    app: &App,
    request: &Request,
    intent: Option<&Intent>,
    key: &Key,
    stored: StoredAnswer,
    seeded: Option<Fault>,
) -> Result<Reply, Failure> {
    if stored.fingerprint != key.fingerprint {
        return Err(ApiError::idempotency_mismatch(&key.value).into());
    }
    let fault = choose(app, request, intent, true, seeded).await?;
    let answer = stored.answer()?;
    Ok(match fault {
        Some(fault) => {
            log_fault(&request.command, intent, fault);
            let delay_ms = fault.delay_ms(app.faults.hold_ms);
            if fault.kind == Kind::Slow {
                app.hold(delay_ms).await;
                Reply::Answer { answer, replayed: true }
            } else {
                Reply::HoldThenCut { delay_ms }
            }
        }
        None => Reply::Answer { answer, replayed: true },
    })
}

/// The nearest order wins: the request's own header, then armed faults, then the intent's metadata,
/// then the seed.
async fn choose(
    app: &App,
    request: &Request,
    intent: Option<&Intent>,
    replay: bool,
    seeded: Option<Fault>,
) -> Result<Option<Fault>, Error> {
    if let Some(fault) = request.fault.filter(|fault| strikes(fault.kind, replay)) {
        return Ok(Some(fault));
    }
    let metadata = match (&request.command, intent) {
        (Command::Create(create), _) => &create.metadata,
        (_, Some(intent)) => &intent.metadata,
        (_, None) => return Ok(None),
    };
    let operations = request.command.operations();
    let payment_id = metadata.get(PAYMENT_ID_METADATA_KEY).map(String::as_str);
    let target = Target { operations, payment_id, replay };
    if let Some(fault) = app.faults.take_armed(target) {
        return Ok(Some(fault));
    }
    if let Some((operation, fault)) = planned_fault(metadata, operations)
        && strikes(fault.kind, replay)
    {
        let scope = match intent {
            Some(intent) => Some(intent.id.clone()),
            None => create_scope(payment_id, request.key.as_ref()),
        };
        let first = match scope {
            Some(scope) => app.store.fault_fire(&scope, operation.as_str(), Utc::now()).await?,
            None => true,
        };
        if first {
            return Ok(Some(fault));
        }
    }
    Ok(seeded.filter(|fault| strikes(fault.kind, replay)))
}

/// What makes a create that is tried again the same create, when its intent may not exist yet.
fn create_scope(payment_id: Option<&str>, key: Option<&Key>) -> Option<String> {
    payment_id
        .map(|payment_id| format!("payment_id:{payment_id}"))
        .or_else(|| key.map(|key| format!("key:{}", key.value)))
}

/// One attempt. `None` when the intent or the key changed meanwhile and all must be read again.
async fn apply_and_save(
    app: &App,
    request: &Request,
    intent: Option<Intent>,
    fault: Option<Kind>,
) -> Result<Option<Answer>, Failure> {
    let at = Utc::now();
    let error_500 = || Answer::error(&ApiError::internal(), None, &app.public_url);
    let (change, answer) = if fault == Some(Kind::ErrorBefore) {
        (None, error_500())
    } else {
        let Some(outcome) = request.command.apply(intent, at, fault == Some(Kind::Refuse)) else {
            return Err(ApiError::internal().into());
        };
        let answer = if fault == Some(Kind::ErrorAfter) {
            error_500()
        } else {
            Answer::outcome(&outcome, &app.public_url)
        };
        match outcome {
            Outcome::Done(change) | Outcome::Declined(change, _) => (Some(change), answer),
            Outcome::Refused(..) => (None, answer),
        }
    };
    let key = request.key.as_ref().map(|key| KeyRow { key, answer: &answer, at });
    let saved = match (change, key) {
        (Some(change), key) => {
            let cause = Cause {
                request_id: Some(&request.id),
                idempotency_key: request.key.as_ref().map(|key| &*key.value),
            };
            record(app, &change, key, cause, at).await?
        }
        (None, Some(key)) => app.store.key_save(key).await?,
        (None, None) => true,
    };
    Ok(saved.then_some(answer))
}

fn log_fault(command: &Command, intent: Option<&Intent>, fault: Fault) {
    let operation = command.operations().last().map_or("none", |operation| operation.as_str());
    let intent = intent.map_or("new", |intent| &*intent.id);
    tracing::info!(
        payment_intent.id = intent,
        fault.kind = fault.kind.as_str(),
        operation,
        "fault {} strikes {operation} of {intent}",
        fault.kind.as_str(),
    );
}
