//! Where a broker's management API is: by its settings, and by asking.

use super::jvm::Jvm;
use super::{Eyes, Noted, Runner};
use crate::zeebe::api::Api;
use crate::zeebe::settings::Settings;
use crate::zeebe::version;

/// Its base URL, and what it says, if it answers. The first of the places it can be at that answers is it.
pub fn of(
    eyes: Eyes<'_>,
    jvm: &Jvm,
    settings: &Settings,
    runner: &Runner,
) -> (Option<Api>, Noted<String>) {
    let served = served(jvm, settings);
    let url = |host: &str| match host.contains(':') {
        true => format!("http://[{host}]:{}", served.port.value),
        false => format!("http://{host}:{}", served.port.value),
    };
    let noted = |host: &Noted<String>, how: &str| {
        let from = format!("{}, {}; {how}", host.from, served.port.from);
        Noted::new(url(&host.value), from)
    };
    let hosts = hosts(eyes, jvm, settings, served.address, runner);
    for host in &hosts {
        if let Ok(api) = (eyes.ask)(&url(&host.value)) {
            return (Some(api), noted(host, "it answers"));
        }
    }
    let guess = Noted::new("127.0.0.1".to_owned(), "a guess");
    let first = hosts.first().unwrap_or(&guess);
    (None, noted(first, "it did not answer"))
}

/// What the API is served by.
struct Served {
    port: Noted<u16>,
    /// It listens there and nowhere else.
    address: Option<Noted<String>>,
}

/// Since 8.5 the API has a server of its own; before, it is Spring's main one, whose port Zeebe sets to the same.
fn served(jvm: &Jvm, settings: &Settings) -> Served {
    let own = settings.management_port.is_some() || !before_8_5(jvm);
    let (port, address) = match own {
        true => (&settings.management_port, "management.server.address"),
        false => (&settings.server_port, "server.address"),
    };
    let usual = Noted::new(9600, "Zeebe's default port");
    let everywhere = |host: &Noted<String>| ANY.contains(&host.value.as_str());
    let address = settings.other_hosts.get(address).cloned().map(Noted::from);
    Served {
        port: port.clone().map_or(usual, Noted::from),
        address: address.filter(|host| !everywhere(host)),
    }
}

/// How "all addresses" is written.
const ANY: [&str; 3] = ["0.0.0.0", "::", ""];

fn before_8_5(jvm: &Jvm) -> bool {
    let Some((install, _)) = jvm.install() else {
        return false;
    };
    let inside = install.strip_prefix("/").unwrap_or(&install);
    let version = version::installed(&jvm.folder.join("root").join(inside));
    let version = version
        .map(|version| version.to_string())
        .unwrap_or_default();
    ["8.0.", "8.1.", "8.2.", "8.3.", "8.4."]
        .iter()
        .any(|line| version.starts_with(line))
}

/// The hosts it can be at, the likeliest first.
fn hosts(
    eyes: Eyes<'_>,
    jvm: &Jvm,
    settings: &Settings,
    only: Option<Noted<String>>,
    runner: &Runner,
) -> Vec<Noted<String>> {
    if let Some(only) = only {
        return vec![only];
    }
    let mut hosts = Vec::new();
    let network = |pid: &str| std::fs::read_link(eyes.processes.join(pid).join("ns/net")).ok();
    if network("self") == network(&jvm.pid.to_string()) {
        hosts.push(Noted::new(
            "127.0.0.1".to_owned(),
            "it listens on all addresses",
        ));
    }
    if let Runner::Container {
        addresses, name, ..
    } = runner
    {
        let from = format!("the address of container {name}");
        hosts.extend(
            addresses
                .iter()
                .map(|address| Noted::new(address.clone(), from.clone())),
        );
    }
    let said = [&settings.advertised_host, &settings.host];
    let said = said.into_iter().flatten().cloned().map(Noted::from);
    hosts.extend(said.filter(|host: &Noted<String>| !ANY.contains(&host.value.as_str())));
    hosts
}
