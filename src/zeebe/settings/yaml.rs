//! YAML made flat: every scalar with the path that leads to it, as Spring flattens it.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// How many scalars, lists and maps a file may have once its aliases are followed; a real one has hundreds.
const MOST: usize = 100_000;
/// How deep it may go.
const DEEPEST: usize = 100;

/// A scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Keys as they are written, list places as numbers.
    pub path: Vec<String>,
    /// Empty for null and for an empty list or map.
    pub value: String,
    /// From 1.
    pub line: usize,
    /// Where it stands, in bytes. Of an alias: where it is anchored.
    pub span: Range<usize>,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    line: usize,
    span: Range<usize>,
}

#[derive(Debug)]
enum Kind {
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// The documents of `text`, each flat and in its order. The error names a line.
pub fn documents(text: &str) -> Result<Vec<Vec<Leaf>>> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        // The parser counts characters.
        bytes: text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect(),
        anchors: HashMap::new(),
        depth: 0,
    };
    let mut documents = Vec::new();
    let mut left = MOST;
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let root = builder.node()?;
                let mut leaves = Vec::new();
                flatten(&root, &mut Vec::new(), &mut leaves, &mut left)?;
                documents.push(leaves);
            }
            _ => {}
        }
    }
}

/// All scalars of `text` that stand under a key, in the order of the text, an aliased one once for each of its
/// paths; `None` where it is not YAML, or not a map.
pub fn scalars(text: &str) -> Option<Vec<Leaf>> {
    let mut leaves: Vec<Leaf> = documents(text).ok()?.into_iter().flatten().collect();
    if leaves
        .iter()
        .any(|leaf| leaf.path.is_empty() && !leaf.value.is_empty())
    {
        return None;
    }
    leaves.retain(|leaf| !leaf.span.is_empty());
    leaves.sort_by_key(|leaf| leaf.span.start);
    Some(leaves)
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    bytes: Vec<usize>,
    anchors: HashMap<usize, Rc<Node>>,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            // The scanner's own words quote nothing of the file but its syntax.
            Some(Err(error)) => bail!("line {}: {}", error.marker().line(), error.info()),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self) -> Result<Rc<Node>> {
        let (event, span) = self.next()?;
        self.node_of(event, span)
    }

    fn node_of(&mut self, event: Event<'a>, span: Span) -> Result<Rc<Node>> {
        let line = span.start.line();
        ensure!(self.depth < DEEPEST, "line {line}: it is nested too deeply");
        self.depth += 1;
        let (anchor, kind) = match event {
            Event::Scalar(value, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*value, "~" | "null" | "Null" | "NULL");
                let value = if null {
                    String::new()
                } else {
                    value.into_owned()
                };
                (anchor, Kind::Scalar(value))
            }
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => list.push(self.node_of(event, span)?),
                    }
                }
                (anchor, Kind::List(list))
            }
            Event::MappingStart(anchor, _) => {
                let mut map = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, span) => {
                            let key = self.node_of(event, span)?;
                            map.push((key, self.node()?));
                        }
                    }
                }
                (anchor, Kind::Map(map))
            }
            Event::Alias(anchor) => {
                self.depth -= 1;
                return match self.anchors.get(&anchor) {
                    Some(node) => Ok(Rc::clone(node)),
                    None => bail!("line {line}: an alias stands before its anchor ends"),
                };
            }
            _ => bail!("line {line}: it ends too early"),
        };
        self.depth -= 1;
        let byte = |at: usize| self.bytes.get(at).or(self.bytes.last()).copied();
        let span = byte(span.start.index()).unwrap_or_default()
            ..byte(span.end.index()).unwrap_or_default();
        let node = Rc::new(Node { kind, line, span });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }
}

fn flatten(
    node: &Node,
    path: &mut Vec<String>,
    leaves: &mut Vec<Leaf>,
    left: &mut usize,
) -> Result<()> {
    ensure!(
        *left > 0 && path.len() < DEEPEST,
        "line {}: its aliases make it too big",
        node.line
    );
    *left -= 1;
    let mut leaf = |value: &str| {
        leaves.push(Leaf {
            path: path.clone(),
            value: value.to_owned(),
            line: node.line,
            span: node.span.clone(),
        });
    };
    match &node.kind {
        Kind::Scalar(value) => leaf(value),
        // An empty list takes the place of one of a lesser source, an empty map does not.
        Kind::List(list) if list.is_empty() => leaf(""),
        Kind::List(list) => {
            for (place, node) in list.iter().enumerate() {
                path.push(place.to_string());
                flatten(node, path, leaves, left)?;
                path.pop();
            }
        }
        Kind::Map(map) => {
            // What is merged in yields to what stands here, so it comes first.
            for (_, merged) in map.iter().filter(|(key, _)| is_merge(key)) {
                match &merged.kind {
                    Kind::List(list) => {
                        for node in list.iter().rev() {
                            flatten(node, path, leaves, left)?;
                        }
                    }
                    _ => flatten(merged, path, leaves, left)?,
                }
            }
            for (key, node) in map.iter().filter(|(key, _)| !is_merge(key)) {
                let Kind::Scalar(value) = &key.kind else {
                    bail!("line {}: a key is not a text", key.line);
                };
                path.push(value.clone());
                flatten(node, path, leaves, left)?;
                path.pop();
            }
        }
    }
    Ok(())
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar(value) if value == "<<")
}
