//! Volumes that change places by their names: what is mounted at the data directory is unmounted, the names change, and
//! what has the name then is mounted there.
//!
//! There is no exchange of two such names, so a third is used in between, and the names say at every moment how far it has
//! come: from wherever it was cut it can be finished in either direction. Must not know what kind of volume it is.

use std::fmt;
use std::path::PathBuf;

use crate::action::{Change, Stop};
use crate::cmd::{Cmd, System};
use crate::{Error, Progress, Result};

/// A kind of volume that has names, and the data directory that one of them is mounted at.
pub(crate) trait Named: fmt::Debug + Send + Sync {
    /// What has this name, if anything has: a guid or uuid, which no rename changes.
    fn identity(&self, sys: &dyn System, name: &str) -> Result<Option<String>>;

    /// The same of several names, for a kind that can say it all at once.
    fn identities(&self, sys: &dyn System, names: [&str; 3]) -> Result<[Option<String>; 3]> {
        let [one, two, three] = names.map(|name| self.identity(sys, name));
        Ok([one?, two?, three?])
    }

    /// What it was made of: the identity of a snapshot. `None` if nothing was written down.
    fn made_of(&self, sys: &dyn System, name: &str) -> Result<Option<String>>;

    /// The identity of what is mounted at the data directory, if it is of this kind.
    fn mounted(&self, sys: &dyn System) -> Result<Option<String>>;

    /// Gives it another name, which is free. It is not mounted.
    fn rename(&self, from: &str, to: &str) -> Vec<Cmd>;

    /// Where else the data is mounted: there, what is replaced would still be in use.
    fn elsewhere(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Unmounts the data directory.
    fn unmount(&self) -> Vec<Cmd>;

    /// Sees to it that what has this name, and is about to lose it, is mounted by nothing, a boot least of all.
    fn set_aside(&self, name: &str) -> Vec<Cmd>;

    /// The reverse, of what has come by the name `live`: it is mounted at a boot as what had the name before was.
    fn take_up(&self, live: &str) -> Vec<Cmd>;

    /// Mounts what has this name at the data directory.
    fn mount(&self, live: &str) -> Vec<Cmd>;

    /// What is well to be done when the names are right and what has the name `live` is mounted, as the system has it now.
    /// It is asked for again until it is nothing. The data is in place without it: what fails of it is no failure.
    fn settle(&self, _sys: &dyn System, _live: &str) -> Result<Vec<Cmd>> {
        Ok(Vec::new())
    }

    /// The same, as it is to be expected.
    fn settling(&self, _live: &str) -> Vec<Cmd> {
        Vec::new()
    }
}

/// Which of the two has the name of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// What was staged.
    Swapped,
    /// What was there when the volume was looked at.
    Back,
}

/// Two volumes, and their names.
#[derive(Debug, Clone)]
pub(crate) struct Renaming<N> {
    pub named: N,
    /// The name of the data.
    pub live: String,
    /// What is staged has this one, and what it replaces gets it.
    pub beside: String,
    /// The identity of what was the data when the volume was looked at.
    pub was: String,
}

/// A renaming in one direction.
#[derive(Debug)]
pub(crate) struct Rename<N> {
    pub renaming: Renaming<N>,
    pub to: To,
}

/// What has the three names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub live: Option<String>,
    pub beside: Option<String>,
    pub between: Option<String>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Nothing: the names are right.
    Done,
    /// The data is unmounted and loses its name.
    Away(&'static str),
    /// One name becomes another.
    Name(&'static str, &'static str),
}

pub(crate) const LIVE: &str = "live";
pub(crate) const BESIDE: &str = "beside";
const BETWEEN: &str = "between";

impl Places {
    /// The next move towards `wanted` having the name of the data; `None` where the names are such that none is safe.
    pub fn next(&self, wanted: &dyn Fn(&str) -> bool) -> Option<Move> {
        let is_wanted = |place: &Option<String>| place.as_deref().map(wanted);
        let places = [&self.live, &self.beside, &self.between].map(is_wanted);
        // Live, beside, between: is it what is wanted there?
        Some(match places {
            [Some(true), Some(false), None] => Move::Done,
            [Some(true), None, Some(false)] => Move::Name(BETWEEN, BESIDE),
            [None, Some(true), Some(false)] => Move::Name(BESIDE, LIVE),
            [Some(false), Some(true), None] => Move::Away(BETWEEN),
            // These are of the other direction, which was cut.
            [None, Some(false), Some(true)] => Move::Name(BETWEEN, LIVE),
            [Some(false), None, Some(true)] => Move::Away(BESIDE),
            _ => return None,
        })
    }
}

impl<N: Named> Renaming<N> {
    fn between(&self) -> String {
        format!("{}.between", self.beside)
    }

    fn name(&self, place: &str) -> String {
        match place {
            LIVE => self.live.clone(),
            BESIDE => self.beside.clone(),
            _ => self.between(),
        }
    }

    fn places(&self, sys: &dyn System) -> Result<Places> {
        let names = [&self.live, &self.beside, &self.between()];
        let [live, beside, between] = self.named.identities(sys, names.map(String::as_str))?;
        Ok(Places {
            live,
            beside,
            between,
        })
    }

    /// Where a rollback to what was made of `of`, or is that itself, stands.
    pub fn progress(&self, sys: &dyn System, of: &str) -> Result<Progress> {
        let places = self.places(sys)?;
        let mounted = self.named.mounted(sys)?;
        let is_old = |identity: &str| identity == self.was;
        let is_new = |identity: &Option<String>, name: &str| -> Result<bool> {
            let Some(identity) = identity.as_deref().filter(|identity| !is_old(identity)) else {
                return Ok(false);
            };
            Ok(identity == of || self.named.made_of(sys, name)?.as_deref() == Some(of))
        };
        let unclear = || {
            let what =
                |place: &Option<String>| place.clone().unwrap_or_else(|| "nothing".to_owned());
            Progress::Unclear(format!(
                "{} is {}, {} is {}, {} is {}, and what is mounted is {}; expected were {} and what was made of {of}",
                self.live,
                what(&places.live),
                self.beside,
                what(&places.beside),
                self.between(),
                what(&places.between),
                what(&mounted),
                self.was,
            ))
        };
        let old_lives = places.live.as_deref().is_some_and(is_old);
        if old_lives && places.beside.is_none() && places.between.is_none() {
            return Ok(match mounted == places.live {
                true => Progress::Untouched,
                false => unclear(),
            });
        }
        for (place, name) in [
            (&places.live, self.live.clone()),
            (&places.beside, self.beside.clone()),
            (&places.between, self.between()),
        ] {
            let is_one_of_both =
                place.is_none() || place.as_deref().is_some_and(is_old) || is_new(place, &name)?;
            if !is_one_of_both {
                return Ok(unclear());
            }
        }
        let new_lives = |identity: &str| !is_old(identity);
        let is_known = places.next(&is_old).is_some() && places.next(&new_lives).is_some();
        let nothing_wrong = mounted.is_none() || mounted == places.live;
        if !is_known || !nothing_wrong {
            return Ok(unclear());
        }
        Ok(match (places.between.is_none(), mounted == places.live) {
            (true, true) if old_lives => Progress::Staged,
            (true, true) => Progress::Swapped,
            _ => Progress::Halfway,
        })
    }
}

impl<N: Named> Rename<N> {
    fn wants(&self, identity: &str) -> bool {
        (identity == self.renaming.was) == (self.to == To::Back)
    }
}

fn run(sys: &dyn System, commands: Vec<Cmd>) -> Result<()> {
    commands.iter().try_for_each(|cmd| {
        sys.run(cmd)?;
        Ok(())
    })
}

impl<N: Named> Change for Rename<N> {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Rename { renaming, .. } = self;
        let named = &renaming.named;
        loop {
            let places = renaming.places(sys)?;
            let next = places.next(&|identity| self.wants(identity));
            let next = next.ok_or_else(|| {
                Error::State(format!(
                    "{} and {} cannot change places: {places:?}",
                    renaming.live, renaming.beside
                ))
            })?;
            match next {
                Move::Done => break,
                Move::Away(to) => {
                    if named.mounted(sys)?.is_some() {
                        if let Some(other) = named.elsewhere()?.first() {
                            return Err(Error::State(format!(
                                "{} is mounted at {}, too: umount it there",
                                renaming.live,
                                other.display()
                            )));
                        }
                        run(sys, named.unmount())?;
                    }
                    run(sys, named.set_aside(&renaming.live))?;
                    run(sys, named.rename(&renaming.live, &renaming.name(to)))?;
                }
                Move::Name(from, to) => {
                    run(sys, named.rename(&renaming.name(from), &renaming.name(to)))?;
                }
            }
        }
        let live = named.identity(sys, &renaming.live)?;
        if named.mounted(sys)? != live {
            run(sys, named.take_up(&renaming.live))?;
            run(sys, named.mount(&renaming.live))?;
        }
        let mounted = named.mounted(sys)?;
        if mounted != live {
            return Err(Error::State(format!(
                "{} is not what is mounted afterwards: that is {}",
                renaming.live,
                mounted.as_deref().unwrap_or("nothing")
            )));
        }
        let settle = || -> Result<()> {
            loop {
                let commands = named.settle(sys, &renaming.live)?;
                if commands.is_empty() {
                    return Ok(());
                }
                run(sys, commands)?;
            }
        };
        if let Err(error) = settle() {
            tracing::warn!(%error, "{} is in place, and not all is done that is well to be done", renaming.live);
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let Rename { renaming, .. } = self;
        let (named, between) = (&renaming.named, renaming.between());
        let (live, beside) = (&renaming.live, &renaming.beside);
        let commands = [
            named.unmount(),
            named.set_aside(live),
            named.rename(live, &between),
            named.rename(beside, live),
            named.rename(&between, beside),
            named.take_up(live),
            named.mount(live),
            named.settling(live),
        ];
        let lines = commands.iter().flatten();
        lines.map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::cmd::RunError;

    /// Names in memory; ends after so many commands.
    #[derive(Debug)]
    struct World {
        names: Mutex<BTreeMap<String, String>>,
        mounted: Mutex<Option<String>>,
        left: Mutex<usize>,
    }

    impl World {
        fn new() -> World {
            let names = [("pool/data", "old"), ("pool/data.r", "new")];
            World {
                names: Mutex::new(
                    names
                        .map(|(name, is)| (name.to_owned(), is.to_owned()))
                        .into(),
                ),
                mounted: Mutex::new(Some("old".to_owned())),
                left: Mutex::new(usize::MAX),
            }
        }

        fn has(&self, name: &str) -> Option<String> {
            self.names.lock().unwrap().get(name).cloned()
        }
    }

    impl System for World {
        fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError> {
            let line = cmd.to_string();
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] == "ask" {
                return Ok(match words[1] {
                    "mounted" => self.mounted.lock().unwrap().clone().unwrap_or_default(),
                    name => self.has(name).unwrap_or_default(),
                }
                .into_bytes());
            }
            let mut left = self.left.lock().unwrap();
            let Some(next) = left.checked_sub(1) else {
                return Err(RunError::Exit {
                    cmd: cmd.clone(),
                    how: "was cut".to_owned(),
                    stderr: String::new(),
                });
            };
            *left = next;
            let mut mounted = self.mounted.lock().unwrap();
            match *words {
                ["rename", from, to] => {
                    assert!(mounted.is_none() || *mounted != self.has(from), "{line}");
                    let mut names = self.names.lock().unwrap();
                    let is = names.remove(from).unwrap();
                    assert_eq!(names.insert(to.to_owned(), is), None, "{line}");
                }
                ["unmount"] => assert!(mounted.take().is_some()),
                ["mount", name] => {
                    assert!(mounted.is_none());
                    *mounted = self.has(name);
                }
                ["aside" | "up", name] => assert!(self.has(name).is_some(), "{line}"),
                _ => panic!("{line}"),
            }
            Ok(Vec::new())
        }
    }

    #[derive(Debug)]
    struct Names;

    impl Names {
        fn ask(sys: &dyn System, what: &str) -> Result<Option<String>> {
            let said = sys.run(&Cmd::new("ask").arg(what))?;
            Ok(Some(String::from_utf8_lossy(&said).into_owned()).filter(|said| !said.is_empty()))
        }
    }

    impl Named for Names {
        fn identity(&self, sys: &dyn System, name: &str) -> Result<Option<String>> {
            Names::ask(sys, name)
        }
        fn made_of(&self, sys: &dyn System, name: &str) -> Result<Option<String>> {
            let is_new = Names::ask(sys, name)?.as_deref() == Some("new");
            Ok(is_new.then(|| "snapshot".to_owned()))
        }
        fn mounted(&self, sys: &dyn System) -> Result<Option<String>> {
            Names::ask(sys, "mounted")
        }
        fn rename(&self, from: &str, to: &str) -> Vec<Cmd> {
            vec![Cmd::new("rename").args([from, to])]
        }
        fn unmount(&self) -> Vec<Cmd> {
            vec![Cmd::new("unmount")]
        }
        fn set_aside(&self, name: &str) -> Vec<Cmd> {
            vec![Cmd::new("aside").arg(name)]
        }
        fn take_up(&self, live: &str) -> Vec<Cmd> {
            vec![Cmd::new("up").arg(live)]
        }
        fn mount(&self, live: &str) -> Vec<Cmd> {
            vec![Cmd::new("mount").arg(live)]
        }
    }

    fn renaming() -> Renaming<Names> {
        Renaming {
            named: Names,
            live: "pool/data".to_owned(),
            beside: "pool/data.r".to_owned(),
            was: "old".to_owned(),
        }
    }

    fn rename(world: &World, to: To) -> Result<()> {
        let renaming = renaming();
        Rename { renaming, to }.perform(world, &|| false)
    }

    fn progress(world: &World) -> Progress {
        renaming().progress(world, "snapshot").unwrap()
    }

    #[test]
    fn from_wherever_it_is_cut_both_directions_can_be_finished() {
        let mut cuts = 0;
        for first in [To::Swapped, To::Back] {
            for second in [To::Swapped, To::Back] {
                for third in [To::Swapped, To::Back] {
                    for cut in 0.. {
                        let world = World::new();
                        if first == To::Back {
                            rename(&world, To::Swapped).unwrap();
                        }
                        *world.left.lock().unwrap() = cut;
                        let whole = rename(&world, first).is_ok();
                        // Cut once more, at every other command.
                        *world.left.lock().unwrap() = cut / 2;
                        let again = rename(&world, second);
                        let when = format!("{first:?}, {second:?}, {third:?} cut at {cut}");
                        assert!(
                            !matches!(progress(&world), Progress::Unclear(_)),
                            "{when}: {:?}",
                            progress(&world)
                        );
                        *world.left.lock().unwrap() = usize::MAX;
                        rename(&world, third).unwrap();
                        let (live, at_end) = match third {
                            To::Swapped => ("new", Progress::Swapped),
                            To::Back => ("old", Progress::Staged),
                        };
                        assert_eq!(progress(&world), at_end, "{when}");
                        assert_eq!(world.has("pool/data").as_deref(), Some(live), "{when}");
                        assert_eq!(world.mounted.lock().unwrap().as_deref(), Some(live));
                        assert_eq!(world.names.lock().unwrap().len(), 2, "{when}");
                        cuts += 1;
                        if whole && again.is_ok() {
                            break;
                        }
                    }
                }
            }
        }
        assert!(cuts > 50, "{cuts}");
    }

    #[test]
    fn what_somebody_else_puts_there_is_left() {
        let world = World::new();
        let put = |name: &str, is: &str| {
            let mut names = world.names.lock().unwrap();
            names.insert(name.to_owned(), is.to_owned());
        };
        put("pool/data.r.between", "somebody's");
        assert!(matches!(progress(&world), Progress::Unclear(_)));
        assert!(rename(&world, To::Swapped).is_err());
        assert_eq!(world.has("pool/data").as_deref(), Some("old"));
        world.names.lock().unwrap().remove("pool/data.r.between");
        assert_eq!(progress(&world), Progress::Staged);
        // Another took the place of the data since it was looked at.
        put("pool/data", "another");
        assert!(matches!(progress(&world), Progress::Unclear(_)));
    }

    #[test]
    fn prints_the_commands() {
        let (renaming, to) = (renaming(), To::Swapped);
        let lines = Rename { renaming, to }.lines();
        insta::assert_snapshot!(lines.join("\n"), @r"
        unmount
        aside pool/data
        rename pool/data pool/data.r.between
        rename pool/data.r pool/data
        rename pool/data.r.between pool/data.r
        up pool/data
        mount pool/data
        ");
    }
}
