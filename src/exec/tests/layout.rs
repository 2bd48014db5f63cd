//! Layouts: how many brokers there are, how their data lies, how they are started and which of them run.

use std::path::{Path, PathBuf};

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::strategy::Just;

use super::machine::{Broker, Machine, config_of};
use super::tree::Thing;
use super::volumes::{Lies, SHARED, shape};
use crate::config::{self, Cluster};
use crate::id::NodeId;

/// One broker.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub lies: Lies,
    pub systemd: bool,
    pub up: bool,
    pub config: bool,
    /// A restore brings its data to another place, where nothing stands yet.
    pub moves: bool,
}

#[derive(Debug, Clone)]
pub struct Layout {
    pub brokers: Vec<Spec>,
    pub seed: u64,
}

fn spec() -> impl Strategy<Value = Spec> {
    let lies = prop_oneof![
        Just(Lies::Nested),
        Just(Lies::Folder),
        Just(Lies::Mount),
        Just(Lies::Shared)
    ];
    let often = proptest::bool::weighted(0.8);
    let rarely = proptest::bool::weighted(0.15);
    (lies, any::<bool>(), often, any::<bool>(), rarely).prop_map(
        |(lies, systemd, up, config, moves)| Spec {
            lies,
            systemd,
            up,
            config,
            moves,
        },
    )
}

pub fn layouts() -> impl Strategy<Value = Layout> {
    (proptest::collection::vec(spec(), 1..=3), any::<u64>())
        .prop_map(|(brokers, seed)| Layout { brokers, seed })
}

impl Layout {
    fn nodes(&self) -> impl Iterator<Item = (NodeId, &Spec)> {
        (0u32..).map(NodeId).zip(&self.brokers)
    }

    pub fn data(node: NodeId, lies: Lies, moved: bool) -> PathBuf {
        match (moved, lies) {
            (true, _) => format!("/new/{node}/data").into(),
            (false, Lies::Shared) => Path::new(SHARED).join(format!("{node}/data")),
            (false, _) => format!("/srv/{node}/data").into(),
        }
    }

    /// The cluster.toml, before or after those that move have moved.
    pub fn cluster(&self, moved: bool) -> Cluster {
        let mut text = "name = \"orders\"\n".to_owned();
        for (node, spec) in self.nodes() {
            let data = Layout::data(node, spec.lies, moved && spec.moves);
            let service = match spec.systemd {
                true => format!("service.systemd = \"zeebe-{node}.service\""),
                false => "service.start = [\"/opt/broker\"]\nservice.log = \"/var/log/zeebe.log\""
                    .to_owned(),
            };
            text += &format!(
                "[[broker]]\nnode_id = {node}\ndata = \"{}\"\nmanagement = \"http://10.0.0.{node}:9600\"\nversion = \"8.5.8\"\n{service}\n",
                data.display()
            );
            if spec.config {
                text += &format!("config = [\"{}\"]\n", config_path(node).display());
            }
        }
        config::parse("cluster.toml".as_ref(), &text).unwrap()
    }

    /// The brokers at work since the time 1, and things of others around them.
    pub fn machine(&self) -> Machine {
        let mut machine = Machine::new();
        machine.make_tree(SHARED.as_ref(), NodeId(99), 1, true);
        for (node, spec) in self.nodes() {
            let data = Layout::data(node, spec.lies, false);
            machine.make_tree(&data, node, 1, spec.lies == Lies::Nested);
            let config = spec.config.then(|| config_path(node));
            if let Some(path) = &config {
                machine.things.write(path, config_of(1));
                machine
                    .things
                    .write(&path.with_file_name(".application.yaml.swp"), "an editor's");
            }
            let broker = Broker {
                data: data.clone(),
                lies: spec.lies,
                pid: None,
                systemd: spec.systemd,
                enabled: spec.up,
                gated: false,
                config,
                excused: false,
            };
            machine.brokers.insert(node, broker);
            // Under names that look like ours.
            let id = machine.volume_id(spec.lies, &data);
            let snapshots = shape(&id).unwrap().snapshots;
            let foreign = snapshots.join("zeebe-snap-20200101T000000Z");
            if !machine.things.has(&foreign) {
                machine.make_tree(&foreign, NodeId(98), 0, spec.lies == Lies::Nested);
            }
        }
        machine.foreign = machine
            .things
            .0
            .keys()
            .filter(|path| is_foreign(path))
            .cloned()
            .collect();
        for (node, spec) in self.nodes() {
            if spec.up {
                machine.start(node).unwrap();
            }
        }
        machine
    }

    /// Those that move have moved: their brokers are down, and where their data was stays as it is.
    pub fn moved(&self, mut machine: Machine) -> Machine {
        for (node, spec) in self.nodes().filter(|(_, spec)| spec.moves) {
            let Some(broker) = machine.brokers.get_mut(&node) else {
                continue;
            };
            machine.foreign.push(broker.data.clone());
            (broker.pid, broker.enabled) = (None, false);
            (broker.lies, broker.data) = (Lies::Folder, Layout::data(node, spec.lies, true));
        }
        machine
    }
}

fn config_path(node: NodeId) -> PathBuf {
    format!("/etc/{node}/application.yaml").into()
}

fn is_foreign(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains("20200101") || name.ends_with(".swp") || path == Path::new(SHARED)
}

/// What stands there that is not ours.
pub fn foreign(machine: &Machine) -> Vec<(&PathBuf, Option<&Thing>)> {
    machine
        .foreign
        .iter()
        .map(|path| (path, machine.things.0.get(path)))
        .collect()
}
