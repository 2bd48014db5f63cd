//! Who listens at an address: sockets by /proc/net (proc_pid_net(5)), and whose they are by `/proc/PID/fd`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};

/// The state LISTEN of /proc/net/tcp (net/tcp_states.h).
const LISTEN: &str = "0A";

/// The sockets, by inode, that take connections to `to` in this network namespace.
pub fn listeners(to: SocketAddr) -> Result<BTreeSet<u64>> {
    // Who listens on all addresses listens at those of this host.
    let is_local = UdpSocket::bind((to.ip(), 0)).is_ok();
    let mut found = BTreeSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 there is no such file.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for line in text.lines().skip(1) {
            let (at, inode) = parse(line).with_context(|| format!("read {path}"))?;
            let here = at.ip() == to.ip().to_canonical() || is_local && at.ip().is_unspecified();
            if let Some(inode) = inode.filter(|_| here && at.port() == to.port()) {
                found.insert(inode);
            }
        }
    }
    Ok(found)
}

/// A line's local address, and the inode of its socket if that listens.
fn parse(line: &str) -> Result<(SocketAddr, Option<u64>)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let field = |index: usize| fields.get(index).copied().context("a line is too short");
    let (ip, port) = field(1)?
        .split_once(':')
        .context("an address has no port")?;
    // Each 32 bits are printed as a number of this machine's.
    let word = |index: usize| -> Result<[u8; 4]> {
        let hex = ip
            .get(index * 8..index * 8 + 8)
            .context("an address is short")?;
        Ok(u32::from_str_radix(hex, 16)?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        _ => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let bytes = <[u8; 16]>::try_from(bytes.as_slice())?;
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
    };
    let at = SocketAddr::new(ip, u16::from_str_radix(port, 16)?);
    let inode = (field(3)? == LISTEN).then(|| field(9)).transpose()?;
    Ok((at, inode.map(str::parse).transpose()?))
}

/// Whether process `pid` has one of these sockets.
pub fn has_socket(pid: i32, sockets: &BTreeSet<u64>) -> bool {
    // What cannot be looked into says nothing.
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut names = files
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path());
    names.any(|path| {
        let is_socket = fs::read_link(&path).is_ok_and(|name| {
            name.to_str()
                .is_some_and(|name| name.starts_with("socket:"))
        });
        is_socket && fs::metadata(&path).is_ok_and(|meta| sockets.contains(&meta.ino()))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_at_its_address_and_at_no_other() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = |to: SocketAddr| has_socket(own, &listeners(to).unwrap());
        for at in ["127.0.99.7:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(found(SocketAddr::from(([127, 0, 99, 7], port))), "{at}");
            let other = SocketAddr::from(([127, 0, 99, 8], port));
            assert_eq!(found(other), at.starts_with('0'), "{at}");
            // An address for documentation (RFC 5737): no host has it.
            assert!(!found(SocketAddr::from(([192, 0, 2, 1], port))), "{at}");
        }
    }

    #[test]
    fn lines_are_read_as_linux_prints_them() {
        // Linux 6.12, x86-64.
        let line = "   0: 0000000000000000FFFF00000100007F:2580 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3129870 1 0000000000000000 100 0 0 10 0";
        let (at, inode) = parse(line).unwrap();
        assert_eq!(
            (at.to_string(), inode),
            ("127.0.0.1:9600".to_owned(), Some(3_129_870))
        );
        assert!(parse("   0: 0100007F").is_err());
    }
}
