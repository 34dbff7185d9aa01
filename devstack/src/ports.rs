//! Ports on loopback: finding a free one, and saying early and clearly that a wanted one is taken.

use std::net::{Ipv4Addr, TcpListener};

use crate::{Error, Result, error::io_error};

/// How often a server is started anew because another process took the free port found for it.
pub(crate) const CLASHES_MAX: u32 = 5;

/// A port that was free a moment ago. Another process may take it before it is used: whoever starts a server on it
/// tries again with another.
pub fn free() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io_error("find a port"))?;
    let address = listener.local_addr().map_err(io_error("find a port"))?;
    Ok(address.port())
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
