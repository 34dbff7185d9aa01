//! Ports on loopback: finding a free one, and saying early and clearly that a wanted one is taken.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use crate::{Error, Result, error::io_error};

/// How often a server is started anew because another process took the free port found for it.
pub(crate) const CLASHES_MAX: u32 = 5;

/// The ports that are tried, below those that systems hand out for outgoing connections: one of these is
/// taken only by somebody who asked for it.
const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port that was free a moment ago, and that this process has not been given before. Another process may
/// take it before it is used: whoever starts a server on it tries again with another.
pub fn free() -> Result<u16> {
    // Processes begin at places of their own, so that two of them seldom try the same port.
    let start = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    for _ in 0..COUNT {
        let place = start + u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(place % u32::from(COUNT)).expect("below the count");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(io_error("find a port")(error)),
        }
    }
    Err(io_error("find a port")(std::io::ErrorKind::AddrInUse.into()))
}

/// An error that names the port, and the flag that changes it if there is one, unless the port can be listened on.
pub fn check_free(port: u16, flag: Option<&'static str>) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(Error::PortTaken { port, flag })
        }
        Err(error) => Err(io_error(format!("listen on port {port}"))(error)),
    }
}

/// Whether a log says that its server lost the race for its port.
pub(crate) fn clash(log: &str) -> bool {
    log.to_lowercase().contains("address already in use")
}
