use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use zeebe_snap_backends::action::{Stop, perform_all};
use zeebe_snap_backends::exchange::{Fill, Filled};
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::{Landing, Part, Point};
use zeebe_snap_backends::tree::{self, Difference, Pass, TreeDigest};
use zeebe_snap_backends::{Action, Error, Obstacle, SnapName, StageName, View, store};

use super::landed::find_whole;
use super::{commands, landing, lines_text, point_json, refused, snap_name};
use crate::cmd::tree::with_hint;
use crate::cmd::{absolute, interruption, path_json, print, print_json};
use crate::exit::Exit;
use crate::report::progress::Progress;
use crate::report::table::{bytes, many};

const MORE: &str = "\
    The data is cloned as `zeebe-snap tree clone` does it, and compared with what has landed, file by file. FOLDER is made, or is \
    empty: a mount point may have `lost+found` in it, and an empty btrfs subvolume stays one. The data appears there when it \
    is whole and on the disk (in a mount point each of its entries does). What was cut is removed, or finished, by the \
    next one.\n\n\
    Of a volume that held nothing but the data directory all is cloned, but for `.zeebe-snap` and `lost+found`. For a data \
    directory that was a folder in what was sent, --below says which.";

/// Get the data out of a snapshot that has landed, into a new folder
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Extract {
    /// The place, as `stream send --to` names it
    #[arg(value_name = "PLACE")]
    place: String,
    /// The name of the snapshot, as `stream list` shows it
    #[arg(value_name = "SNAPSHOT", value_parser = snap_name)]
    name: SnapName,
    /// The data directory that is to be: nothing, an empty folder, or an empty mount point
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The data directory's path in what was sent, if that is not all of it
    #[arg(long, value_name = "PATH", value_parser = below)]
    below: Option<PathBuf>,
    /// Show what would be done, command by command, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const VERB: &str = "stream extract";

/// What was sent, as it is cloned.
struct Source {
    point: Point,
    view: View,
    place: String,
}

impl Extract {
    pub fn run(self) -> Result<Exit> {
        let host = Host::new(&[]);
        let landing = landing(&host, &self.place)?;
        let (place, all) = (landing.id().title, landing.landed(&host)?);
        let point = match find_whole(&all, &place, &self.name) {
            Ok((it, _)) => it.point.clone(),
            Err(why) => return refused(VERB, self.json, &[why]),
        };
        let folder = resolved(&self.folder)?;
        if let Some(why) = self.missing(&host, &*landing, &place)? {
            return refused(VERB, self.json, &[why]);
        }
        let from = Source {
            view: landing.view(&self.name, &self.part()),
            point,
            place,
        };
        let fill = Fill::of(&folder, StageName::try_from("extract".to_owned())?)?;
        let identity = &from.point.identity;
        let filled = fill.filled(&host, identity)?;
        let mut first = Vec::new();
        match &filled {
            Filled::Not => {
                let found = fill.obstacles(&host, &from.view)?;
                if !found.is_empty() {
                    return refused(VERB, self.json, &found);
                }
                first = fill.stage(identity, &from.view)?;
            }
            Filled::Begun | Filled::Done => {}
            Filled::Otherwise(names) => {
                return refused(VERB, self.json, &[not_empty(&folder, names)]);
            }
        }
        let last = match filled {
            Filled::Done => fill.end(),
            _ => fill.put(),
        };
        if self.dry_run {
            first.extend(last);
            return self.planned(&from, &folder, &first);
        }
        let interrupted = interruption()?;
        let stop: Stop<'_> = &|| interrupted.load(Ordering::Relaxed);
        let compared = match filled {
            Filled::Not => stage(&host, &first, &from, &fill, stop)?,
            // It was compared before that.
            _ => Compared {
                want: digest(&host, &from.view, stop)?,
                differences: Vec::new(),
            },
        };
        if compared.is_equal() {
            perform_all(&last, &host, &|| false)?;
            let staged = fill.staged();
            ensure!(
                staged.symlink_metadata().is_err(),
                "{} holds what somebody has put into {} meanwhile; it was left there",
                staged.display(),
                folder.display()
            );
        }
        self.done(&from, &folder, &compared)
    }

    fn part(&self) -> Part {
        let mut leave_out = vec![OsString::from(store::NAME)];
        // The file system's own, in its root.
        if self.below.is_none() {
            leave_out.push("lost+found".into());
        }
        Part {
            below: self.below.clone().unwrap_or_default(),
            leave_out,
        }
    }

    /// What of `--below` is not there. A link in what was sent leads anywhere.
    fn missing(&self, host: &Host, landing: &dyn Landing, place: &str) -> Result<Option<Obstacle>> {
        let Some(below) = &self.below else {
            return Ok(None);
        };
        let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let view = landing.view(&self.name, &Part::default());
        let found = view.read(host, |root| {
            let mut ancestors = below.ancestors().filter(|it| *it != Path::new(""));
            anyhow::Ok(ancestors.all(|it| is_folder(&root.join(it))))
        })??;
        Ok((!found).then(|| Obstacle {
            what: format!("{} of {place} has no folder {}", self.name, below.display()),
            why: "that is where the data directory was said to be".to_owned(),
            todo: "give its path below the root of the volume that was sent".to_owned(),
        }))
    }

    fn planned(&self, from: &Source, folder: &Path, actions: &[Action]) -> Result<Exit> {
        let lines = commands(actions);
        if self.json {
            let mut document = document("planned", from, folder);
            document["commands"] = json!(lines);
            print_json(&document)?;
        } else {
            print(&format!(
                "Would extract {} of {} into {}:\n{}",
                self.name,
                from.place,
                folder.display(),
                lines_text(&lines)
            ))?;
        }
        Ok(Exit::Done)
    }

    fn done(&self, from: &Source, folder: &Path, compared: &Compared) -> Result<Exit> {
        let Compared { want, differences } = compared;
        let (result, exit) = match compared.is_equal() {
            true => ("done", Exit::Done),
            false => ("differs", Exit::Differs),
        };
        if self.json {
            let mut document = document(result, from, folder);
            document["entries"] = json!(want.entries.len());
            document["files"] = json!(want.files);
            document["bytes"] = json!(want.bytes);
            document["content"] = json!(want.content);
            document["metadata"] = json!(want.metadata);
            document["differences"] = json!(differences);
            print_json(&document)?;
            return Ok(exit);
        }
        let mut text: String = differences.iter().map(|one| format!("{one}\n")).collect();
        text.push_str(&match compared.is_equal() {
            true => format!(
                "snapshot  {}\nfrom      {}\nto        {}\nentries   {}, each as it has landed\nbytes     {} ({})\n",
                self.name,
                from.place,
                folder.display(),
                want.entries.len(),
                want.bytes,
                bytes(want.bytes)
            ),
            false => format!(
                "The clone of {} is NOT what has landed: {}. It was removed.\n",
                self.name,
                many(differences.len(), "difference", "differences")
            ),
        });
        print(&text)?;
        Ok(exit)
    }
}

/// A path below a root.
fn below(text: &str) -> Result<PathBuf, String> {
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => {
                return Err(
                    "it has to be a path below the root of what was sent, as data/0".into(),
                );
            }
        }
    }
    Ok(path)
}

/// The folder that `path` names, which may be one that is to be made.
fn resolved(path: &Path) -> Result<PathBuf> {
    if let Ok(path) = fs::canonicalize(path) {
        return Ok(path);
    }
    let path = absolute(path.to_owned())?;
    let name = path.file_name();
    let name = name.with_context(|| format!("{path:?} does not end in a name"))?;
    let around = path.parent().unwrap_or(&path);
    ensure!(
        around.is_dir(),
        "{around:?} is not there, in which {name:?} is to be made\n  Hint: make it first, or give another folder."
    );
    let around = fs::canonicalize(around).with_context(|| format!("find {around:?}"))?;
    Ok(around.join(name))
}

fn not_empty(folder: &Path, names: &[OsString]) -> Obstacle {
    let mut some: Vec<String> = names.iter().take(3).map(|it| format!("{it:?}")).collect();
    if names.len() > some.len() {
        some.push(format!("and {} more", names.len() - some.len()));
    }
    Obstacle {
        what: format!("{} is not empty: {}", folder.display(), some.join(", ")),
        why: "nothing is written over".to_owned(),
        todo: "give a new folder or an empty one, or move away what is there".to_owned(),
    }
}

/// Stages a clone that is the same as what has landed, or leaves nothing.
fn stage(
    host: &Host,
    actions: &[Action],
    from: &Source,
    fill: &Fill,
    stop: Stop<'_>,
) -> Result<Compared> {
    let progress = Progress::new();
    progress.say(format!("clone {}", from.point.name));
    let cloned = perform_all(actions, host, stop);
    progress.clear();
    let compared = match cloned {
        Ok(()) => compare(host, from, &View::of(fill.staged()), stop),
        Err(Error::Tree(error)) => Err(with_hint(error)),
        Err(error) => Err(error.into()),
    };
    if compared.as_ref().is_ok_and(Compared::is_equal) {
        return compared;
    }
    match (perform_all(&fill.clear(), host, &|| false), compared) {
        (Ok(()), compared) => compared,
        (Err(left), Ok(_)) => Err(left).context("remove the clone, which is not what has landed"),
        (Err(left), Err(cause)) => bail!("{cause:#}; and the clone could not be removed: {left}"),
    }
}

/// What has landed, and in what a clone of it differs from that.
struct Compared {
    want: TreeDigest,
    differences: Vec<Difference>,
}

impl Compared {
    fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

fn compare(host: &Host, from: &Source, with: &View, stop: Stop<'_>) -> Result<Compared> {
    let want = digest(host, &from.view, stop)?;
    let have = digest(host, with, stop)?;
    Ok(Compared {
        differences: tree::compare(&want.entries, &have.entries),
        want,
    })
}

fn digest(host: &Host, view: &View, stop: Stop<'_>) -> Result<TreeDigest> {
    let progress = Progress::new();
    progress.say(format!("digest {view}"));
    let digested = view.read(host, |path| {
        let pass = Pass {
            leave_out: &view.leave_out,
            stop,
            progress: &|bytes| progress.hashed(bytes),
            ..Pass::new()
        };
        tree::digest(path, &pass).map_err(with_hint)
    });
    progress.clear();
    digested?.with_context(|| format!("digest {view}"))
}

fn document(result: &str, from: &Source, folder: &Path) -> Value {
    json!({
        "format": 1,
        "verb": VERB,
        "result": result,
        "snapshot": point_json(&from.point),
        "from": from.place,
        "to": path_json(folder),
    })
}
