//! A broker that no unit and no container runs: what can be seen of how it was started, and what would start it again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::jvm::Jvm;
use super::runner::{Runner, program};
use super::{Eyes, config_files, environment};

/// What starts again by itself what it has started.
const SUPERVISORS: [&str; 7] = [
    "supervisord",
    "runsv",
    "s6-supervise",
    "supervise",
    "monit",
    "circusd",
    "pm2",
];

/// What starts one like `jvm`, and what its output goes to; `install` is its folder as this host sees it.
pub fn of(eyes: Eyes<'_>, jvm: &Jvm, install: Option<&Path>) -> Result<Runner> {
    let own = fs::metadata(eyes.processes.join("self/root"));
    let theirs = fs::metadata(jvm.folder.join("root"));
    let id = |root: std::io::Result<fs::Metadata>| {
        use std::os::unix::fs::MetadataExt;
        root.map(|root| (root.dev(), root.ino())).ok()
    };
    if id(own) != id(theirs) {
        bail!("it runs in a root of its own, and what started it there cannot be seen");
    }
    let (mut start, from) = start_of(jvm, install)?;
    start.extend(jvm.arguments().iter().cloned());
    if jvm
        .arguments()
        .iter()
        .any(|word| environment::has_secret(word))
    {
        bail!("its command line has secrets in it, which are not written to a cluster.toml");
    }
    let mut prefix = Vec::new();
    if nix::unistd::geteuid().as_raw() != jvm.user.0 {
        prefix.extend(as_user(jvm.user)?);
    }
    if reads_its_folder(jvm, install) {
        prefix.push(program("env")?.display().to_string());
        prefix.push(format!("--chdir={}", jvm.cwd.display()));
    }
    let mut environment = environment::sorted(&jvm.environment);
    let by_path = !["JAVA_HOME", "JAVACMD"]
        .iter()
        .any(|name| jvm.environment.contains_key(*name));
    if let (true, Some(home)) = (by_path, java_home(&jvm.program)) {
        environment.written.insert("JAVA_HOME".to_owned(), home);
    }
    Ok(Runner::Plain {
        start: prefix.into_iter().chain(start).collect(),
        from,
        environment,
        log: log(jvm),
        watched_by: watcher(eyes, jvm),
    })
}

/// The start script of the install, or else the command line of the JVM itself.
fn start_of(jvm: &Jvm, install: Option<&Path>) -> Result<(Vec<String>, String)> {
    let named = jvm.property("app.name");
    let names = named.as_deref().into_iter().chain(["broker", "camunda"]);
    let scripts = names.filter_map(|name| Some(install?.join("bin").join(name)));
    let may_run =
        |path: &PathBuf| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if let Some(script) = scripts.into_iter().find(may_run) {
        return Ok((
            vec![script.display().to_string()],
            "the start script of its install".to_owned(),
        ));
    }
    if jvm
        .options()
        .iter()
        .any(|word| environment::has_secret(word))
    {
        bail!(
            "it was not started by bin/broker of an install, and its command line has secrets in it, which are not written to a cluster.toml"
        );
    }
    let words = [jvm.program.display().to_string()].into_iter();
    let words = words.chain(jvm.options().iter().cloned());
    Ok((
        words.chain([jvm.main_class().to_owned()]).collect(),
        "its own command line".to_owned(),
    ))
}

/// Becomes another user and stays the same process.
fn as_user((user, group): (u32, u32)) -> Result<Vec<String>> {
    let setpriv = program("setpriv")?.display().to_string();
    let user_name = nix::unistd::User::from_uid(user.into()).ok().flatten();
    let group_name = nix::unistd::Group::from_gid(group.into()).ok().flatten();
    let groups = match user_name {
        Some(_) => "--init-groups",
        None => "--clear-groups",
    };
    Ok(vec![
        setpriv,
        format!(
            "--reuid={}",
            user_name.map_or(user.to_string(), |user| user.name)
        ),
        format!(
            "--regid={}",
            group_name.map_or(group.to_string(), |group| group.name)
        ),
        groups.to_owned(),
    ])
}

/// Whether it takes config files from the folder it works in, or has its data below it by a relative name.
fn reads_its_folder(jvm: &Jvm, install: Option<&Path>) -> bool {
    let of_install = |path: &Path| install.is_some_and(|install| path.starts_with(install));
    let (files, _) = config_files::of(jvm);
    let mut own = files.iter().filter(|file| !of_install(file));
    let has_base = jvm.property("basedir").is_some();
    own.any(|file| file.starts_with(&jvm.cwd)) || !has_base && !of_install(&jvm.cwd)
}

fn java_home(program: &Path) -> Option<String> {
    let bin = program.parent().filter(|dir| dir.ends_with("bin"))?;
    bin.parent().map(|home| home.display().to_string())
}

/// The file that its standard output is, if it is one.
fn log(jvm: &Jvm) -> Option<PathBuf> {
    let path = fs::read_link(jvm.folder.join("fd/1")).ok()?;
    let is_file = path.is_absolute() && path.is_file();
    is_file.then_some(path)
}

fn watcher(eyes: Eyes<'_>, jvm: &Jvm) -> Option<String> {
    let comm = fs::read_to_string(eyes.processes.join(jvm.parent.to_string()).join("comm")).ok()?;
    let comm = comm.trim();
    SUPERVISORS
        .contains(&comm)
        .then(|| format!("{comm} (pid {})", jvm.parent))
}
