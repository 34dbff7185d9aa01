//! One suite for every provider there is: what our client makes of the wire must not depend on who is
//! at its other end. The scripted provider says what Stripe's documentation says, paysim is our own,
//! and localstripe was written by people who never saw our client. Where one of them cannot do what a
//! check needs, the table says why, and the check is run all the same and must fail: an exception that
//! is no longer one is an error.

mod checks;
mod scripts;
mod world;

use std::pin::Pin;

use self::world::{Kind, World};
use crate::{localstripe, provider::Answer};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One claim about the wire.
struct Check {
    name: &'static str,
    run: fn(World) -> Running,
    /// What the scripted provider says to it.
    script: fn() -> Vec<Answer>,
    /// Who cannot be asked, and why not.
    except: &'static [(Kind, &'static str)],
}

#[tokio::test]
async fn the_documentation_is_understood() {
    hold_on(Kind::Scripted).await;
}

#[tokio::test]
async fn the_card_network_of_our_own_is_understood() {
    hold_on(Kind::Paysim).await;
}

#[tokio::test]
async fn a_strangers_imitation_is_understood() {
    match localstripe::impossible() {
        Some(why) => eprintln!("localstripe is not asked: {why}"),
        None => hold_on(Kind::Localstripe).await,
    }
}

/// Runs every check, and only then fails, so that one run tells of them all.
async fn hold_on(kind: Kind) {
    let mut failed = Vec::new();
    for check in checks::all() {
        let world = World::new(kind, (check.script)()).await;
        // A task of its own turns a panic into an answer.
        let holds = tokio::spawn((check.run)(world)).await.is_ok();
        let exception = check.except.iter().find(|(excepted, _)| *excepted == kind);
        match exception {
            Some((_, why)) if holds => {
                failed.push(format!("{} holds now, and was not to because {why}", check.name));
            }
            Some((_, why)) => eprintln!("{kind:?} is not held to: {}: {why}", check.name),
            None if holds => eprintln!("{kind:?}: {}", check.name),
            None => failed.push(format!("{} does not hold", check.name)),
        }
    }
    assert!(failed.is_empty(), "{kind:?}: {failed:#?}");
}
