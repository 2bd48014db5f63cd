//! Three loopback addresses for a cluster, which no other cluster on this machine has.
//! Must not know what listens on them.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Of 127.0.n.1 to 127.0.n.3, the n that are tried. The demo and the bench have others.
const RANGES: std::ops::Range<usize> = 30..50;

/// A claim on the addresses 127.0.n.1 to 127.0.n.3. It is a socket that has a name and no file: like the addresses, there is
/// one to each network namespace, and it is free again when the last process that holds it has ended, however that ends.
#[derive(Debug)]
pub struct Addresses {
    range: usize,
    claim: UnixListener,
}

impl Addresses {
    /// Addresses that nobody has claimed and nobody listens on.
    pub fn find() -> Addresses {
        RANGES
            .filter_map(|range| {
                let name = format!("zeebe-snap-test-127.0.{range}");
                let name = SocketAddr::from_abstract_name(name).unwrap();
                let claim = UnixListener::bind_addr(&name).ok()?;
                Some(Addresses { range, claim })
            })
            .find(|addresses| {
                (0..3).all(|broker| TcpListener::bind((addresses.of(broker), 26500)).is_ok())
            })
            .expect("free addresses")
    }

    /// The address of a broker.
    pub fn of(&self, broker: usize) -> String {
        format!("127.0.{}.{}", self.range, broker + 1)
    }

    /// The port the brokers gossip on, the only one that is not Zeebe's default. Whatever its address, a broker takes UDP on
    /// all addresses of the machine (`ss -lun` shows `*:26502`), so that with one port for all, one process gets what was
    /// meant for another.
    pub fn internal_port(&self, broker: usize) -> usize {
        26_000 + 10 * self.range + broker
    }

    /// The claim, for a process that is to hold it, too.
    pub fn claim(&self) -> OwnedFd {
        self.claim.try_clone().unwrap().into()
    }
}
