//! Which config files Spring gives to a broker, by what it was started with.
//!
//! (docs.spring.io, Spring Boot, Externalized Configuration: the class path, then the working folder, each with its
//! `config/`; `spring.config.location` instead of those, `spring.config.additional-location` besides. What comes later wins.)

use std::path::{Path, PathBuf};

use super::jvm::Jvm;
use super::place;

/// The files by the broker's own names, those that win last; and where they are named.
pub fn of(jvm: &Jvm) -> (Vec<PathBuf>, String) {
    let location = jvm.setting("spring.config.location", "SPRING_CONFIG_LOCATION");
    let more = jvm.setting(
        "spring.config.additional-location",
        "SPRING_CONFIG_ADDITIONAL_LOCATION",
    );
    let mut from = match &location {
        Some(_) => "spring.config.location".to_owned(),
        None => "where Zeebe looks for them".to_owned(),
    };
    let mut places = match &location {
        Some(text) => named(jvm, text),
        None => usual(jvm),
    };
    if let Some(text) = &more {
        from += " and spring.config.additional-location";
        places.extend(named(jvm, text));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for file in places.iter().flat_map(|place| files(jvm, place)) {
        found.retain(|other| *other != file);
        found.push(file);
    }
    (found, from)
}

fn usual(jvm: &Jvm) -> Vec<Place> {
    let class_path = jvm.class_path();
    let is_library = |entry: &&PathBuf| {
        entry.ends_with("*") || entry.extension().is_some_and(|end| end == "jar")
    };
    let folders = class_path.iter().filter(|entry| !is_library(entry));
    let folders = folders.chain([&jvm.cwd]);
    folders
        .flat_map(|dir| [dir.clone(), dir.join("config")])
        .map(Place::Folder)
        .collect()
}

/// A place that Spring looks at.
enum Place {
    /// One with a file of the usual name in it.
    Folder(PathBuf),
    /// A file.
    File(PathBuf),
}

/// `optional:file:/etc/zeebe/,classpath:other.yaml;…`
fn named(jvm: &Jvm, text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for word in text
        .split([',', ';'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let word = word.strip_prefix("optional:").unwrap_or(word);
        let bases = match word.strip_prefix("classpath:") {
            Some(_) => jvm.class_path(),
            None => vec![jvm.cwd.clone()],
        };
        let path = word
            .trim_start_matches("classpath:")
            .trim_start_matches("file:")
            .trim_start_matches(|c| word.starts_with("classpath:") && c == '/');
        // `file:///etc/…` is a URL, too.
        let path = match path.strip_prefix("///") {
            Some(rest) => format!("/{rest}"),
            None => path.to_owned(),
        };
        for base in bases {
            let at = base.join(&path);
            places.push(match path.ends_with('/') || path.is_empty() {
                true => Place::Folder(at),
                false => Place::File(at),
            });
        }
    }
    places
}

/// Those that are there. A file for a profile wins over the one for all.
fn files(jvm: &Jvm, place: &Place) -> Vec<PathBuf> {
    let there = |path: &Path| place::is_there(&jvm.folder, path);
    let dir = match place {
        Place::File(path) => {
            return [path.components().collect::<PathBuf>()]
                .into_iter()
                .filter(|path| there(path))
                .collect();
        }
        Place::Folder(dir) => dir.components().collect::<PathBuf>(),
    };
    let profiles = jvm
        .setting("spring.profiles.active", "SPRING_PROFILES_ACTIVE")
        .unwrap_or_default();
    let profiles = profiles
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let stems = [String::new()]
        .into_iter()
        .chain(profiles.map(|profile| format!("-{profile}")));
    stems
        .flat_map(|stem| {
            ["yml", "yaml", "properties"].map(|end| format!("application{stem}.{end}"))
        })
        .map(|name| dir.join(name))
        .filter(|path| there(path))
        .collect()
}
