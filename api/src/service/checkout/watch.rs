//! Following a checkout: its state as it is, and again at every change, until it is over.

use std::time::Duration;

use domain::{CheckoutId, CustomerId};
use futures::{Stream, stream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};

use super::Checkout;
use crate::{STREAM_SECONDS_MAX, error::Error, service::Service};

/// How often the checkout is looked at: soon after a change, and less often the longer it rests.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(1);

struct Watch {
    service: Service,
    caller: CustomerId,
    id: CheckoutId,
    seen: Option<Checkout>,
    pause: Duration,
    ends_at: Instant,
    over: bool,
    /// Makes room for another watcher when this one leaves.
    _permit: OwnedSemaphorePermit,
}

impl Service {
    /// The caller's checkout, now and at every change, until it is over, for ten minutes at most.
    pub(crate) async fn checkout_watch(
        &self,
        caller: CustomerId,
        id: CheckoutId,
    ) -> Result<impl Stream<Item = Result<Checkout, Error>> + Send + use<>, Error> {
        let permit = self.0.streams.clone().try_acquire_owned().map_err(|_| Error::Overloaded)?;
        // What is not the caller's is refused before a stream begins.
        let first = self.checkout(caller, id).await?;
        let watch = Watch {
            service: self.clone(),
            caller,
            id,
            seen: None,
            pause: PAUSE_MIN,
            ends_at: Instant::now() + Duration::from_secs(STREAM_SECONDS_MAX),
            over: false,
            _permit: permit,
        };
        Ok(stream::unfold((watch, Some(first)), |(mut watch, first)| async move {
            let item = match first {
                Some(first) => watch.show(first),
                None => watch.next().await?,
            };
            Some((item, (watch, None)))
        }))
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Checkout, Error>> {
        while !self.over && Instant::now() < self.ends_at {
            tokio::select! {
                () = sleep(self.pause) => {}
                () = self.service.0.stop.cancelled() => return None,
            }
            match self.service.checkout(self.caller, self.id).await {
                Ok(checkout) if self.seen.as_ref() == Some(&checkout) => {
                    self.pause = (self.pause * 3 / 2).min(PAUSE_MAX);
                }
                Ok(checkout) => return Some(self.show(checkout)),
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    #[expect(clippy::unnecessary_wraps, reason = "an item of the stream is a result")]
    fn show(&mut self, checkout: Checkout) -> Result<Checkout, Error> {
        self.pause = PAUSE_MIN;
        self.over = checkout.state.finished();
        self.seen = Some(checkout.clone());
        Ok(checkout)
    }
}
