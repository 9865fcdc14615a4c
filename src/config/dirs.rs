//! Where relative paths lie: a directory for sockets, which is gone at a restart of the machine, and one for state.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The daemon's directories. Looked up once; shared by the command line, so that it finds the daemon's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// For sockets: `$RUNTIME_DIRECTORY` (systemd's), `$XDG_RUNTIME_DIR/broadcastd`, else `broadcastd-UID` in the
    /// temporary directory.
    pub runtime: PathBuf,
    /// For state: `$STATE_DIRECTORY` (systemd's), `$XDG_STATE_HOME/broadcastd`, `~/.local/state/broadcastd`, else
    /// `state` in the runtime directory.
    pub state: PathBuf,
}

impl Dirs {
    /// Looks the directories up in an environment, for the user `uid`.
    pub fn find(environment: &dyn Fn(&str) -> Option<String>, uid: u32) -> Dirs {
        let get = |name| environment(name).filter(|value| !value.is_empty());
        // systemd gives several directories as a list; the first is the unit's own.
        let first = |name| get(name).and_then(|value| value.split(':').next().map(PathBuf::from));
        let within = |name, rest: &str| get(name).map(|value| Path::new(&value).join(rest));
        let temporary = || {
            PathBuf::from(get("TMPDIR").unwrap_or_else(|| "/tmp".to_owned()))
                .join(format!("broadcastd-{uid}"))
        };
        let runtime = first("RUNTIME_DIRECTORY")
            .or_else(|| within("XDG_RUNTIME_DIR", "broadcastd"))
            .unwrap_or_else(temporary);
        let state = first("STATE_DIRECTORY")
            .or_else(|| within("XDG_STATE_HOME", "broadcastd"))
            .or_else(|| within("HOME", ".local/state/broadcastd"))
            .unwrap_or_else(|| runtime.join("state"));
        Dirs { runtime, state }
    }

    /// Where a socket's path leads.
    pub fn runtime_path(&self, path: &str) -> PathBuf {
        self.runtime.join(path)
    }

    /// Makes the runtime directory if it is not there, for this user alone, and checks that it is this user's: in a
    /// temporary directory somebody else may have made it first.
    pub fn prepare_runtime(&self, uid: u32) -> io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.runtime) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // Not followed: in a temporary directory a symbolic link may be anybody's.
        check(&self.runtime, &std::fs::symlink_metadata(&self.runtime)?, uid)
    }

    /// Makes the state directory if it is not there, and those above it, for this user alone, and checks that it is this
    /// user's.
    pub fn prepare_state(&self, uid: u32) -> io::Result<()> {
        let unusable = |error: io::Error| {
            let message = format!("{} cannot be used: {error}", self.state.display());
            io::Error::new(error.kind(), message)
        };
        if self.state.starts_with(&self.runtime) {
            self.prepare_runtime(uid)?;
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.state).map_err(unusable)?;
        // Followed: systemd makes one of `DynamicUser=`.
        check(&self.state, &std::fs::metadata(&self.state)?, uid)
    }
}

/// The name of the daemon whose configuration is read from `config`, or is built in. Symbolic links are not followed: a
/// configuration may be swapped by one, and stays the same daemon's.
pub fn instance_of(config: Option<&Path>) -> String {
    let named = config.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    named.map_or_else(|| "built-in".to_owned(), |path| path.display().to_string())
}

/// Whether a directory is this user's alone, or one that systemd made.
fn check(directory: &Path, found: &std::fs::Metadata, uid: u32) -> io::Result<()> {
    let writable_by_others = found.mode() & 0o002 != 0;
    if !found.is_dir() || (found.uid() != uid && found.uid() != 0) || writable_by_others {
        let message = format!("{} is not a directory of this user's alone", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(environment: &[(&str, &str)], runtime: &str, state: &str) {
        let get = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let dirs = Dirs::find(&get, 7);
        assert_eq!((dirs.runtime, dirs.state), (runtime.into(), state.into()), "{environment:?}");
    }

    #[test]
    fn directories_are_looked_up_in_order() {
        check(&[], "/tmp/broadcastd-7", "/tmp/broadcastd-7/state");
        check(&[("HOME", "/h"), ("TMPDIR", "/t")], "/t/broadcastd-7", "/h/.local/state/broadcastd");
        check(
            &[("XDG_RUNTIME_DIR", "/run/user/7"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")],
            "/run/user/7/broadcastd",
            "/s/broadcastd",
        );
        check(
            &[
                ("RUNTIME_DIRECTORY", "/run/b:/run/c"),
                ("STATE_DIRECTORY", "/var/lib/b"),
                ("XDG_RUNTIME_DIR", "/x"),
            ],
            "/run/b",
            "/var/lib/b",
        );
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let uid = std::fs::metadata(temporary.path()).unwrap().uid();
        let dirs = Dirs { runtime: temporary.path().join("run"), state: PathBuf::new() };
        dirs.prepare_runtime(uid).unwrap();
        assert_eq!(std::fs::metadata(&dirs.runtime).unwrap().mode() & 0o777, 0o700);
        dirs.prepare_runtime(uid).unwrap();
        if uid == 0 {
            std::os::unix::fs::chown(&dirs.runtime, Some(12_345), None).unwrap();
            assert!(dirs.prepare_runtime(0).is_err());
        }
    }

    #[test]
    fn the_state_directory_is_made_with_those_above_it() {
        let temporary = tempfile::tempdir().unwrap();
        let uid = std::fs::metadata(temporary.path()).unwrap().uid();
        let dirs = Dirs { runtime: temporary.path().join("run"), state: temporary.path().join("a/b") };
        dirs.prepare_state(uid).unwrap();
        dirs.prepare_state(uid).unwrap();
        assert_eq!(std::fs::metadata(&dirs.state).unwrap().mode() & 0o777, 0o700);
        std::fs::write(temporary.path().join("file"), "").unwrap();
        for state in ["file", "file/below"] {
            let dirs = Dirs { state: temporary.path().join(state), ..dirs.clone() };
            assert!(dirs.prepare_state(uid).is_err(), "{state}");
        }
    }
}
