//! Kills, with -9, whoever is at work: every few seconds a worker, from time to time the API or the card
//! network. Each is started again at once or a little later.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fastrand::Rng;
use tokio::time::sleep;

use super::world::World;

/// Kills until it is told to stop, and leaves everybody running.
pub(crate) async fn reap(world: &World, workers: usize, mut rng: Rng, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(rng.u64(1500..4500))).await;
        let gone_for = Duration::from_millis(rng.u64(..1500));
        let shop = &world.shop;
        match rng.u8(..100) {
            0..75 => {
                let number = rng.usize(..workers);
                shop.kill_worker(number);
                sleep(gone_for).await;
                shop.start_worker(number);
                shop.worker_ready(number).await;
                world.tally.note("killed: worker");
            }
            75..88 => {
                shop.kill_api();
                sleep(gone_for).await;
                shop.start_api().await;
                world.tally.note("killed: API");
            }
            _ => {
                shop.kill_paysim();
                sleep(gone_for).await;
                shop.start_paysim().await;
                world.tally.note("killed: card network");
            }
        }
    }
}
