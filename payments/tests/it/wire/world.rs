//! A provider to ask, with one payment to make at it, and what a check needs that is no part of the
//! wire: cards by their behaviour, and a customer who passes 3-D Secure.

use std::{thread, time::Duration};

use domain::{AuthorizeOutcome, PaymentMethod};
use payments::{Doubt, Error, Intent, Stripe};
use reqwest::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::{
    fixtures::{API_KEY, charge, config},
    localstripe::localstripe,
    paysim::Network,
    provider::{Answer, Provider, Request},
};

const HEARD_LIMIT: Duration = Duration::from_secs(20);
const HEARD_POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Scripted,
    Paysim,
    Localstripe,
}

pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) stripe: Stripe,
    url: Url,
    provider: Option<Provider>,
    network: Option<Network>,
}

impl World {
    pub(super) async fn new(kind: Kind, script: Vec<Answer>) -> Self {
        let (mut provider, mut network) = (None, None);
        let url = match kind {
            Kind::Scripted => provider.insert(Provider::start(script).await).url.clone(),
            Kind::Paysim => network.insert(Network::start(|_| ()).await).url.clone(),
            Kind::Localstripe => localstripe().await.url.clone(),
        };
        let stripe = Stripe::new(config(url.clone())).expect("a client");
        Self { kind, stripe, url, provider, network }
    }

    pub(super) async fn created(&self, method: &str) -> Intent {
        let method = PaymentMethod::try_from(method.to_owned()).expect("a method");
        self.stripe.create(&charge(), &method).await.expect("an intent")
    }

    pub(super) async fn authorized(&self) -> Intent {
        let intent = self.created("pm_card_visa").await;
        let outcome = self.stripe.settle_authorization(intent.clone(), 0).await;
        assert!(matches!(outcome, Ok(AuthorizeOutcome::Approved(_))), "{outcome:?}");
        intent
    }

    /// For checks of what comes after a capture; the capture has its own.
    pub(super) async fn captured(&self) -> Intent {
        let intent = self.authorized().await;
        match self.stripe.capture(&intent.id, &charge(), 0).await {
            Ok(_) => {}
            Err(Error::Unknown { doubt: Doubt::Unreadable(why), .. })
                if self.kind == Kind::Localstripe && why == NO_AMOUNT => {}
            Err(error) => panic!("{error}"),
        }
        intent
    }

    /// A card whose issuer says no.
    pub(super) fn declined_card(&self) -> &'static str {
        match self.kind {
            Kind::Scripted | Kind::Paysim => "pm_card_chargeDeclinedInsufficientFunds",
            // The others it knows by name are declined when they are attached, not when charged.
            Kind::Localstripe => "pm_card_chargeCustomerFail",
        }
    }

    /// A card whose issuer wants to see the customer.
    pub(super) async fn asking_card(&self) -> String {
        if self.kind != Kind::Localstripe {
            return "pm_card_authenticationRequired".to_owned();
        }
        let card = [
            ("type", "card"),
            ("card[number]", "4000002500003155"),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2030"),
            ("card[cvc]", "123"),
        ];
        let method = self.post("v1/payment_methods", &card).await;
        method["id"].as_str().expect("an id").to_owned()
    }

    /// The customer passes.
    pub(super) async fn pass(&self, intent: &Intent) {
        let id = &intent.id;
        match self.kind {
            Kind::Scripted => {}
            Kind::Paysim => {
                let page = self.url.join(&format!("3ds/{id}")).expect("a URL");
                let form = [("result", "approve")];
                let answer = Client::new().post(page).form(&form).send().await;
                assert!(answer.expect("an answer").status().is_success());
            }
            Kind::Localstripe => {
                let path = format!("v1/payment_intents/{id}");
                let intent = Client::new().get(self.url.join(&path).expect("a URL"));
                let intent = intent.bearer_auth(API_KEY).send().await.expect("an answer");
                let intent: Value = intent.json().await.expect("JSON");
                let secret = intent["client_secret"].as_str().expect("a secret");
                let form = [("client_secret", secret), ("success", "true")];
                self.post(&format!("{path}/_authenticate"), &form).await;
            }
        }
    }

    /// The same kind of provider, which sends its events to `receiver`.
    pub(super) async fn telling(mut self, receiver: &Provider, secret: &str) -> Self {
        match self.kind {
            Kind::Scripted => panic!("it sends no events"),
            Kind::Paysim => {
                let network = Network::start(|config| {
                    config.webhooks.urls = vec![receiver.url.to_string()];
                    config.webhooks.secret = Some(secret.to_owned());
                });
                let network = self.network.insert(network.await);
                self.url = network.url.clone();
                self.stripe = Stripe::new(config(network.url.clone())).expect("a client");
            }
            Kind::Localstripe => {
                let url = self.url.join("_config/webhooks/it").expect("a URL");
                let form = [("url", receiver.url.as_str()), ("secret", secret)];
                let answer = Client::new().post(url).form(&form).send().await.expect("an answer");
                assert!(answer.status().is_success());
            }
        }
        self
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let request = Client::new().post(self.url.join(path).expect("a URL"));
        let answer = request.bearer_auth(API_KEY).form(form).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        answer.json().await.expect("JSON")
    }
}

/// A script is played to its end, and no further.
impl Drop for World {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && !thread::panicking()
        {
            provider.requests();
        }
    }
}

/// Waits for a delivery that `wanted` makes something of.
pub(super) async fn heard<T>(
    receiver: &Provider,
    mut wanted: impl FnMut(&Request) -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = receiver.heard().iter().find_map(&mut wanted) {
            return found;
        }
        assert!(begun.elapsed() < HEARD_LIMIT, "nothing was delivered");
        sleep(HEARD_POLL).await;
    }
}

/// Why localstripe's word for a capture is not taken: it does not say how much was captured.
const NO_AMOUNT: &str = "an impossible captured amount";
