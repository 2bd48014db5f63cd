//! What Zeebe's own config templates say is read as they say it. Needs `ZEEBE_HOME` and `ZEEBE_NEXT_HOME` (scripts/setup);
//! the templates are read there.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use zeebe_snap::zeebe::settings::{Flush, Said, Settings, Sources, masked, read};

fn configs() -> Vec<PathBuf> {
    ["ZEEBE_HOME", "ZEEBE_NEXT_HOME"]
        .map(|name| {
            let home = std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: see scripts/setup"));
            Path::new(&home).join("config")
        })
        .to_vec()
}

fn settings_of(text: &str) -> Settings {
    let sources = Sources {
        files: vec![("application.yaml".into(), text.as_bytes().to_vec())],
        base: Some("/opt/zeebe".into()),
        ..Sources::default()
    };
    read(&sources).unwrap()
}

/// A value as text, and the line it was read from.
fn plain<T: ToString>(said: &Option<Said<T>>) -> Option<(String, String)> {
    let said = said.as_ref()?;
    Some((said.value.to_string(), said.by.clone()))
}

type Look = fn(&Settings) -> Option<(String, String)>;

/// Every key of the templates that is read, and where it goes.
fn known() -> Vec<(&'static str, Look)> {
    vec![
        ("cluster.nodeId", |s| plain(&s.node_id)),
        ("cluster.clusterSize", |s| plain(&s.cluster_size)),
        ("cluster.partitionsCount", |s| plain(&s.partitions)),
        ("cluster.replicationFactor", |s| plain(&s.replication)),
        ("cluster.clusterName", |s| plain(&s.cluster_name)),
        ("data.directory", |s| {
            let said = s.data.as_ref()?;
            let below = said.value.strip_prefix("/opt/zeebe").unwrap();
            Some((below.display().to_string(), said.by.clone()))
        }),
        ("network.host", |s| plain(&s.host)),
        ("network.advertisedHost", |s| plain(&s.advertised_host)),
        ("network.commandApi.port", |s| plain(&s.command_port)),
        ("network.internalApi.port", |s| plain(&s.internal_port)),
        ("gateway.network.port", |s| plain(&s.gateway_port)),
        ("network.commandApi.host", |s| {
            plain(
                &s.other_hosts
                    .get("zeebe.broker.network.command-api.host")
                    .cloned(),
            )
        }),
        ("network.internalApi.host", |s| {
            plain(
                &s.other_hosts
                    .get("zeebe.broker.network.internal-api.host")
                    .cloned(),
            )
        }),
        ("gateway.network.host", |s| {
            plain(
                &s.other_hosts
                    .get("zeebe.broker.gateway.network.host")
                    .cloned(),
            )
        }),
    ]
}

/// The keys of a template, which are commented out, by path: line, from 0, of the first of each.
fn keys(template: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut above: Vec<(usize, &str)> = Vec::new();
    for (number, line) in template.lines().enumerate() {
        let Some((key, _)) = line
            .trim_start()
            .strip_prefix("# ")
            .and_then(|rest| rest.split_once(':'))
        else {
            continue;
        };
        // Prose begins with a capital letter, or has blanks before its colon.
        let is_key = key.starts_with(char::is_lowercase) && key.chars().all(char::is_alphanumeric);
        if !is_key {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        above.retain(|(other, _)| *other < indent);
        above.push((indent, key));
        let path: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
        found.entry(path.join(".")).or_insert(number);
    }
    found
}

/// The template with these lines no longer comments.
fn uncommented(template: &str, lines: &BTreeSet<usize>) -> String {
    let line = |(number, line): (usize, &str)| match lines.contains(&number) {
        true => line.replacen("# ", "", 1),
        // One template has a line that is no comment, though what it belongs to is.
        false if !line.trim_start().starts_with('#') => String::new(),
        false => line.to_owned(),
    };
    template
        .lines()
        .enumerate()
        .map(line)
        .map(|line| line + "\n")
        .collect()
}

#[test]
fn every_known_key_is_read_as_the_template_has_it() {
    for config in configs() {
        let template = fs::read_to_string(config.join("broker.standalone.yaml.template")).unwrap();
        let keys = keys(&template);
        let mut read = 0;
        let wanted: Vec<String> = known()
            .iter()
            .map(|(key, _)| format!("zeebe.broker.{key}"))
            .collect();
        // A key needs those above it.
        let lines = wanted.iter().flat_map(|key| {
            let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
            ends.map(|end| keys[&key[..end]]).collect::<Vec<_>>()
        });
        let text = uncommented(&template, &lines.collect());
        let settings = settings_of(&text);
        for (key, look) in known() {
            let line = keys[&format!("zeebe.broker.{key}")];
            let value = text
                .lines()
                .nth(line)
                .unwrap()
                .split_once(':')
                .unwrap()
                .1
                .trim();
            let told = look(&settings);
            if value.is_empty() {
                assert_eq!(told, None, "{key} in {}", config.display());
                continue;
            }
            read += 1;
            let by = format!("application.yaml:{}", line + 1);
            assert_eq!(
                told,
                Some((value.to_owned(), by)),
                "{key} in {}",
                config.display()
            );
        }
        assert!(read > 12, "{read} keys are read in {}", config.display());
    }
}

#[test]
fn the_example_of_contact_points_and_the_flush_settings_are_read() {
    for config in configs() {
        let template = fs::read_to_string(config.join("broker.yaml.template")).unwrap();
        let keys = keys(&template);
        let example = template
            .lines()
            .position(|line| line.contains("initialContactPoints : ["))
            .expect("the example of the template");
        let above = ["zeebe", "zeebe.broker", "zeebe.broker.cluster"].map(|key| keys[key]);
        let settings = settings_of(&uncommented(
            &template,
            &above.into_iter().chain([example]).collect(),
        ));
        assert_eq!(
            settings.contact_points.unwrap().value,
            ["192.168.1.22:26502", "192.168.1.32:26502"]
        );
        let flush = [
            "raft",
            "raft.flush",
            "raft.flush.enabled",
            "raft.flush.delayTime",
        ]
        .map(|key| keys[&format!("zeebe.broker.cluster.{key}")]);
        let text = uncommented(&template, &above.into_iter().chain(flush).collect());
        assert_eq!(settings_of(&text).flush, Flush::Immediate);
        let (off, late) = (
            text.replace("enabled: true", "enabled: false"),
            text.replace("delayTime: 0s", "delayTime: 30s"),
        );
        assert!(matches!(settings_of(&off).flush, Flush::Off { .. }));
        assert!(matches!(settings_of(&late).flush, Flush::Delayed { delay, .. } if delay == "30s"));
    }
}

#[test]
fn an_exporter_of_the_template_is_named_and_its_password_is_not_shown() {
    for config in configs() {
        let template = fs::read_to_string(config.join("broker.standalone.yaml.template")).unwrap();
        let keys = keys(&template);
        let first = keys["zeebe.broker.exporters.elasticsearch"];
        let below = template
            .lines()
            .enumerate()
            .skip(first)
            .take_while(|(_, line)| !line.is_empty())
            // The templates have one that is not YAML.
            .filter(|(_, line)| !line.contains(" = "));
        let above = ["zeebe", "zeebe.broker", "zeebe.broker.exporters"].map(|key| keys[key]);
        let text = uncommented(
            &template,
            &above
                .into_iter()
                .chain(below.map(|(number, _)| number))
                .collect(),
        );
        let names: Vec<String> = settings_of(&text)
            .exporters
            .into_iter()
            .map(|said| said.value)
            .collect();
        assert_eq!(names, ["elasticsearch"]);
        assert!(text.contains("password: changeme"));
        assert!(!masked(&text).contains("changeme"));
    }
}

#[test]
fn what_the_distributions_ship_reads() {
    for config in configs() {
        let text = fs::read_to_string(config.join("application.yaml")).unwrap();
        let settings = settings_of(&text);
        assert_eq!(plain(&settings.cluster_size).unwrap().0, "1");
        assert_eq!(settings.data.unwrap().value, Path::new("/opt/zeebe/data"));
        assert!(settings.conflicts.is_empty() && settings.exporters.is_empty());
        for entry in fs::read_dir(&config).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".template") {
                settings_of(&fs::read_to_string(&path).unwrap());
            }
        }
    }
}
