//! Somebody at a worker's elbow, who lets the steps of its workflows fail as a test has planned. The
//! worker runs within the test and does everything that the real one's workflows and steps do, and
//! nothing else: it carries no announcements.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    activities::ActivityError,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    runtime::RuntimeOptions,
};
use tests::{Shop, Spec};
use workflows::{
    CheckoutWorkflow, FulfilmentWorkflow, ReconciliationWorkflow, RefundWorkflow,
    ReservationExpiryWorkflow, TASK_QUEUE,
};

/// How many mugs such a shop has.
pub(crate) const STOCK: i64 = 20;

/// What is to happen to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It fails in passing before it does anything.
    FailFirst,
    /// It does its work, and then its answer is lost, so that it runs twice.
    LoseAnswer,
    /// It fails in passing before it does anything, again and again.
    FailForNow,
    /// It can never succeed, and does nothing.
    BugFirst,
    /// It does its work, and then can never be said to have succeeded.
    BugAfter,
}

impl Harm {
    /// What strikes once.
    pub(crate) const PASSING: [Self; 2] = [Self::FailFirst, Self::LoseAnswer];
    /// What strikes until it is mended, and no try will get past.
    pub(crate) const BUGS: [Self; 2] = [Self::BugFirst, Self::BugAfter];

    fn passes(self) -> bool {
        Self::PASSING.contains(&self)
    }

    /// Whether the step has done its work all the same.
    pub(crate) fn after(self) -> bool {
        matches!(self, Self::LoseAnswer | Self::BugAfter)
    }
}

/// What a bug in a step says of it.
pub(crate) fn sabotage_of(step: &str) -> String {
    format!("sabotage of {step}")
}

struct Plan {
    step: &'static str,
    harm: Harm,
    struck: bool,
}

#[derive(Default)]
struct Notes {
    plans: Vec<Plan>,
    ran: Vec<String>,
}

/// Harm waiting for its steps, and the steps that came by.
#[derive(Clone, Default)]
pub(crate) struct Saboteur(Arc<Mutex<Notes>>);

impl Saboteur {
    pub(crate) fn plan(&self, harms: impl IntoIterator<Item = (&'static str, Harm)>) {
        let plans = harms.into_iter().map(|(step, harm)| Plan { step, harm, struck: false });
        self.0.lock().expect("unpoisoned").plans.extend(plans);
    }

    fn take(&self, step: &str) -> Option<Harm> {
        let mut notes = self.0.lock().expect("unpoisoned");
        notes.ran.push(step.to_owned());
        let spent = |plan: &Plan| plan.harm.passes() && plan.struck;
        let plan = notes.plans.iter_mut().find(|plan| plan.step == step && !spent(plan))?;
        plan.struck = true;
        Some(plan.harm)
    }

    /// Whether all the harm that was planned was done.
    pub(crate) fn spent(&self) -> bool {
        self.0.lock().expect("unpoisoned").plans.iter().all(|plan| plan.struck)
    }

    /// Mends every step. Claims that all the harm that was planned was done.
    pub(crate) fn mend(&self) {
        let mended = std::mem::take(&mut self.0.lock().expect("unpoisoned").plans);
        assert_all_struck(&mended);
    }

    /// Mends one step, with the same claim.
    pub(crate) fn mend_step(&self, step: &str) {
        let mut notes = self.0.lock().expect("unpoisoned");
        let (mended, rest) =
            std::mem::take(&mut notes.plans).into_iter().partition(|plan| plan.step == step);
        notes.plans = rest;
        drop(notes);
        assert_all_struck(&mended);
    }

    /// The steps that were begun since somebody last asked, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("unpoisoned").ran)
    }
}

fn assert_all_struck(plans: &[Plan]) {
    let idle: Vec<_> =
        plans.iter().filter(|plan| !plan.struck).map(|plan| (plan.step, plan.harm)).collect();
    assert!(idle.is_empty(), "harm that met no step: {idle:?}");
}

impl ActivityInboundInterceptor for Saboteur {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        async move {
            let step = input.activity_info().activity_type.clone();
            match self.take(&step) {
                None => next.run(input).await,
                Some(Harm::FailFirst | Harm::FailForNow) => Err(passing()),
                Some(Harm::BugFirst) => Err(bug(&step)),
                Some(Harm::LoseAnswer) => {
                    next.run(input).await?;
                    Err(passing())
                }
                Some(Harm::BugAfter) => {
                    next.run(input).await?;
                    Err(bug(&step))
                }
            }
        }
        .boxed()
    }
}

fn passing() -> ActivityError {
    ActivityError::application(ApplicationFailure::builder("sabotage that passes").build())
}

fn bug(step: &str) -> ActivityError {
    let bug = ApplicationFailure::builder(sabotage_of(step)).non_retryable(true).build();
    ActivityError::application(bug)
}

/// A shop whose one worker runs here, with somebody at its elbow, and where people are soon called for.
pub(crate) async fn with_saboteur(claim: impl AsyncFnOnce(&Shop, &Saboteur)) {
    with_saboteur_in(Spec::default(), claim).await;
}

/// The same, set up otherwise.
pub(crate) async fn with_saboteur_in(spec: Spec, claim: impl AsyncFnOnce(&Shop, &Saboteur)) {
    let shop = Shop::open_with(Spec { attention_after: Duration::from_secs(1), ..spec }).await;
    shop.stock("MUG-1", STOCK, 1299).await;
    // It has prepared the namespace, and now makes room.
    shop.kill_worker(0);

    let saboteur = Saboteur::default();
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).expect("a runtime");
    let mut worker =
        Worker::new(&runtime, shop.engine.clone(), options(&shop, &saboteur)).expect("a worker");
    let shut_down = worker.shutdown_handle();
    let story = async {
        claim(&shop, &saboteur).await;
        shop.assert_lawful().await;
        shut_down();
    };
    let (ended, ()) = futures::join!(worker.run(), story);
    ended.expect("the worker stops when it is told to");
}

/// Every workflow and every step.
fn options(shop: &Shop, saboteur: &Saboteur) -> WorkerOptions {
    let provider = payments::Stripe::new(payments::Config {
        base_url: shop.paysim_url.parse().expect("an address"),
        api_key: "sk_test_of_the_tests".to_owned(),
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        return_url: None,
    })
    .expect("a client");
    let stock = store::inventory::Inventory::new(shop.shards.clone());
    let holds = activities::Holds::new(shop.db.clone(), stock.clone());
    let payments = activities::Payments::new(shop.db.clone(), holds.clone(), provider.clone());
    WorkerOptions::new(TASK_QUEUE)
        .activity_inbound_interceptor(saboteur.clone())
        .register_workflow::<CheckoutWorkflow>()
        .expect("registered once")
        .register_workflow::<FulfilmentWorkflow>()
        .expect("registered once")
        .register_workflow::<ReconciliationWorkflow>()
        .expect("registered once")
        .register_workflow::<RefundWorkflow>()
        .expect("registered once")
        .register_workflow::<ReservationExpiryWorkflow>()
        .expect("registered once")
        .register_activities(activities::Orders::new(shop.db.clone(), holds.clone()))
        .register_activities(activities::Inventory::new(shop.db.clone(), holds, payments.clone()))
        .register_activities(payments.clone())
        .register_activities(activities::Refunds::new(shop.db.clone(), provider.clone()))
        .register_activities(activities::Reconciler::new(
            shop.db.clone(),
            stock,
            payments,
            provider,
        ))
        .register_activities(activities::Fulfilment::new(shop.db.clone()))
        .build()
}
