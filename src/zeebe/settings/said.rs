//! The sources as layers, and what they say under a name, by Spring's rules (relaxed binding, placeholders, profiles).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::names::Pair;
use super::yaml::Leaf;
use super::{Conflict, Said, Sources, options, placeholder, properties, yaml};

/// The sources, the weightiest first.
pub struct Layers {
    layers: Vec<Layer>,
    environment: BTreeMap<String, String>,
}

/// One source; inside it a later property wins.
enum Layer {
    Properties(Vec<Property>),
    Environment,
}

struct Property {
    /// The path in one spelling.
    path: Vec<String>,
    /// The path as it is written.
    written: Vec<String>,
    value: String,
    by: String,
}

/// A path in one spelling: Spring looks neither at case nor at dashes and underscores.
fn normal(part: &str) -> String {
    part.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// `a.b[0].c` as its parts. What stands in brackets is one part, whatever is in it.
fn parts(key: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' | ']' | '.' if c == ']' || !inside => {
                inside = c == '[';
                if !part.is_empty() {
                    parts.push(std::mem::take(&mut part));
                }
            }
            _ => part.push(c),
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

impl Property {
    fn new(keys: &[String], value: String, by: String) -> Property {
        let written: Vec<String> = keys.iter().flat_map(|key| parts(key)).collect();
        Property {
            path: written.iter().map(|part| normal(part)).collect(),
            written,
            value,
            by,
        }
    }
}

impl Layers {
    pub fn of(sources: &Sources) -> Result<Layers> {
        let mut layers = Layers {
            layers: Vec::new(),
            environment: sources.environment.clone(),
        };
        let words = |name: &str| {
            let text = sources.environment.get(name);
            text.map(|text| options::words(text)).unwrap_or_default()
        };
        // The launcher puts JDK_JAVA_OPTIONS before the command line, the JVM JAVA_TOOL_OPTIONS before all, and
        // bin/broker JAVA_OPTS into it (JDK: java(1); Zeebe: bin/broker).
        let mut options = words("JAVA_TOOL_OPTIONS");
        options.extend(words("JDK_JAVA_OPTIONS"));
        options.extend(words("JAVA_OPTS"));
        options.extend(sources.arguments.iter().cloned());
        layers.add(arguments(&sources.arguments, "--"));
        if let Some(json) = sources.environment.get("SPRING_APPLICATION_JSON") {
            let by = |_: usize| "environment SPRING_APPLICATION_JSON".to_owned();
            // JSON is YAML.
            let documents = yaml::documents(json).context("read SPRING_APPLICATION_JSON")?;
            layers.add(
                documents
                    .into_iter()
                    .flatten()
                    .map(|leaf| property(leaf, &by)),
            );
        }
        layers.add(arguments(&options, "-D"));
        layers.layers.push(Layer::Environment);
        for (path, content) in sources.files.iter().rev() {
            for document in documents(path, content)?.into_iter().rev() {
                let by = |line: usize| format!("{}:{line}", path.display());
                let document: Vec<Property> = document
                    .into_iter()
                    .map(|leaf| property(leaf, &by))
                    .collect();
                if layers.is_active(&document) {
                    layers.add(document);
                }
            }
        }
        Ok(layers)
    }

    fn add(&mut self, properties: impl IntoIterator<Item = Property>) {
        let properties = properties.into_iter().collect();
        self.layers.push(Layer::Properties(properties));
    }

    /// Whether a document counts: `spring.config.activate.on-profile` may ask for a profile.
    fn is_active(&self, document: &[Property]) -> bool {
        let wanted = path("spring.config.activate.on-profile");
        let asked: Vec<&Property> = document
            .iter()
            .filter(|property| property.path.starts_with(&wanted))
            .collect();
        let active = self.text("spring.profiles.active");
        let active: Vec<&str> = active
            .as_ref()
            .map_or("default", |said| &said.value)
            .split(',')
            .map(str::trim)
            .collect();
        let holds = |term: &str| match term.trim().trim_matches(['(', ')']).strip_prefix('!') {
            Some(name) => !active.contains(&name.trim()),
            None => active.contains(&term.trim().trim_matches(['(', ')'])),
        };
        let either = |expression: &str| {
            let mut any = expression.split([',', '|']);
            any.any(|all| all.split('&').all(holds))
        };
        asked.is_empty() || asked.iter().any(|property| either(&property.value))
    }

    fn find(&self, name: &str) -> Option<Said<String>> {
        self.layers
            .iter()
            .find_map(|layer| self.find_in(layer, name))
    }

    fn find_in(&self, layer: &Layer, name: &str) -> Option<Said<String>> {
        let wanted = path(name);
        match layer {
            Layer::Properties(properties) => {
                let found = properties.iter().rev().find(|one| one.path == wanted)?;
                Some(Said {
                    value: found.value.clone(),
                    by: found.by.clone(),
                })
            }
            Layer::Environment => {
                let is_it = means(name);
                let mut variables = self.environment.iter();
                let (variable, value) = variables.find(|(variable, _)| is_it(variable))?;
                Some(Said {
                    value: value.clone(),
                    by: format!("environment {variable}"),
                })
            }
        }
    }

    /// What is said under `name`; nothing where that is empty.
    pub fn text(&self, name: &str) -> Option<Said<String>> {
        let said = self.find(name)?;
        let value = self.resolved(&said.value, 0).trim().to_owned();
        (!value.is_empty()).then_some(Said { value, by: said.by })
    }

    /// What is said under the one or the other name of a thing. Two that differ are kept.
    pub fn either(&self, pair: &Pair, conflicts: &mut Vec<Conflict>) -> Option<Said<String>> {
        let legacy = self.text(pair.legacy);
        let unified = pair
            .unified
            .iter()
            .find_map(|name| Some((*name, self.text(name)?)));
        clash(pair, legacy.as_ref(), unified.as_ref(), conflicts);
        legacy.or(unified.map(|(_, said)| said))
    }

    /// The same for a list.
    pub fn list_of_either(
        &self,
        pair: &Pair,
        conflicts: &mut Vec<Conflict>,
    ) -> Option<Said<Vec<String>>> {
        let legacy = self.list(pair.legacy);
        let unified = pair
            .unified
            .iter()
            .find_map(|name| Some((*name, self.list(name)?)));
        let joined = |said: &Said<Vec<String>>| Said {
            value: said.value.join(","),
            by: said.by.clone(),
        };
        clash(
            pair,
            legacy.as_ref().map(joined).as_ref(),
            unified
                .as_ref()
                .map(|(name, said)| (*name, joined(said)))
                .as_ref(),
            conflicts,
        );
        legacy.or(unified.map(|(_, said)| said))
    }

    /// A list is one of the weightiest source that has any of it: in one text with commas, or place by place.
    fn list(&self, name: &str) -> Option<Said<Vec<String>>> {
        for layer in &self.layers {
            let places: Vec<Said<String>> = (0..)
                .map_while(|place| self.find_in(layer, &format!("{name}.{place}")))
                .collect();
            let whole = self.find_in(layer, name);
            let by = match (&whole, places.first()) {
                (Some(said), _) | (None, Some(said)) => said.by.clone(),
                (None, None) => continue,
            };
            let all = whole.into_iter().chain(places);
            let value: Vec<String> = all
                .map(|said| self.resolved(&said.value, 0))
                .flat_map(|text| {
                    text.split(',')
                        .map(|one| one.trim().to_owned())
                        .collect::<Vec<_>>()
                })
                .filter(|one| !one.is_empty())
                .collect();
            return (!value.is_empty()).then_some(Said { value, by });
        }
        None
    }

    /// The keys right below a name, of all sources, each once and in the spelling of a file where there is one.
    pub fn names_below(&self, pair: &Pair) -> Vec<Said<String>> {
        let mut found: BTreeMap<String, Said<String>> = BTreeMap::new();
        for name in std::iter::once(&pair.legacy).chain(pair.unified) {
            for layer in self.layers.iter().rev() {
                for said in self.names_in(layer, name) {
                    found.entry(normal(&said.value)).or_insert(said);
                }
            }
        }
        found.into_values().collect()
    }

    fn names_in(&self, layer: &Layer, name: &str) -> Vec<Said<String>> {
        let above = path(name);
        match layer {
            Layer::Properties(properties) => properties
                .iter()
                .filter(|property| {
                    property.path.len() > above.len() && property.path.starts_with(&above)
                })
                .filter_map(|property| {
                    Some(Said {
                        value: property.written.get(above.len())?.clone(),
                        by: property.by.clone(),
                    })
                })
                .collect(),
            Layer::Environment => {
                let prefix = format!("{}_", uniform(name));
                let below = |variable: &String| {
                    let upper = variable.to_uppercase();
                    let (own, _) = upper.strip_prefix(&prefix)?.split_once('_')?;
                    Some(Said {
                        value: own.to_lowercase(),
                        by: format!("environment {variable}"),
                    })
                };
                self.environment.keys().filter_map(below).collect()
            }
        }
    }

    /// `text` with its `${NAME:default}` resolved from the environment and from all that is said. What nobody says and
    /// has no default stays, as it does in Spring.
    fn resolved(&self, text: &str, depth: usize) -> String {
        let Some((before, inner, after)) = placeholder::first(text).filter(|_| depth < 10) else {
            return text.to_owned();
        };
        let (name, default) = placeholder::parted(inner);
        let name = self.resolved(name, depth + 1);
        let said = self
            .environment
            .get(&name)
            .cloned()
            .or_else(|| self.find(&name).map(|said| said.value));
        let value = match (said, default) {
            (Some(value), _) => self.resolved(&value, depth + 1),
            (None, Some(default)) => self.resolved(default, depth + 1),
            (None, None) => format!("${{{inner}}}"),
        };
        format!("{before}{value}{}", self.resolved(after, depth))
    }
}

fn clash(
    pair: &Pair,
    legacy: Option<&Said<String>>,
    unified: Option<&(&str, Said<String>)>,
    conflicts: &mut Vec<Conflict>,
) {
    if let (Some(legacy), Some((name, unified))) = (legacy, unified)
        && legacy.value != unified.value
    {
        conflicts.push(Conflict {
            legacy: (pair.legacy.to_owned(), legacy.clone()),
            unified: ((*name).to_owned(), unified.clone()),
        });
    }
}

/// A name of the table as a path in one spelling.
fn path(name: &str) -> Vec<String> {
    parts(name).iter().map(|part| normal(part)).collect()
}

fn uniform(name: &str) -> String {
    name.replace('-', "").replace('.', "_").to_uppercase()
}

/// Whether an environment variable means the property `name` (`SystemEnvironmentPropertyMapper.java`): dots are
/// underscores, dashes are nothing, or underscores as of old. A variable with dots in its name is read like any property.
fn means(name: &str) -> impl Fn(&str) -> bool {
    let spelt = [uniform(name), name.replace(['-', '.'], "_")];
    let path_of_name = path(name);
    move |variable| {
        if variable.contains('.') {
            return path(variable) == path_of_name;
        }
        let variable = variable.trim_end_matches('_');
        spelt.iter().any(|name| name.eq_ignore_ascii_case(variable))
    }
}

fn property(leaf: Leaf, by: &dyn Fn(usize) -> String) -> Property {
    Property::new(&leaf.path, leaf.value, by(leaf.line))
}

/// The documents of a config file; none of one that is neither YAML nor properties by its name.
fn documents(path: &Path, content: &[u8]) -> Result<Vec<Vec<Leaf>>> {
    let suffix = path.extension().map(|suffix| suffix.to_ascii_lowercase());
    let kind = suffix.as_deref().and_then(|suffix| suffix.to_str());
    if !matches!(kind, Some("yaml" | "yml" | "json" | "properties")) {
        return Ok(Vec::new());
    }
    let read = || format!("read {}", path.display());
    let text = std::str::from_utf8(content).with_context(read)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if kind == Some("properties") {
        return Ok(properties::documents(text));
    }
    yaml::documents(text).with_context(read)
}

/// Those of `words` that are a property with this beginning: `-Dname=value`, `--name=value`.
fn arguments(words: &[String], beginning: &str) -> Vec<Property> {
    let property = |word: &String| {
        let rest = word.strip_prefix(beginning)?;
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        let by = format!("argument {beginning}{name}");
        Some(Property::new(&[name.to_owned()], value.to_owned(), by))
    };
    words.iter().filter_map(property).collect()
}
