//! The file that rooms are kept in from one process to the next.
//!
//! It lies in the state directory, and there is one for each configuration's file. Beside it lies a lock, held while a daemon
//! of that configuration runs: two never write or take the same rooms. The file is there between two processes only. Who
//! starts takes it away before anything else, so that offsets which were given out since can never be given out again: after
//! a crash there is nothing to go on from, and rooms begin new epochs.

use crate::config::{Config, Dirs, instance_of};
use crate::metrics::Metrics;
use crate::room::{Bell, Kept, NotKept, Rooms};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What writing may take in any case, beyond `server.drain_timeout` where that has passed.
const LEAST: Duration = Duration::from_secs(1);
/// What is reserved for writing so many bytes: a slow disk's second.
const BYTES_PER_SECOND: u64 = 64 << 20;

/// The file, and who may write it.
pub(super) struct KeptFile {
    dirs: Dirs,
    path: PathBuf,
    /// Whose rooms they are: the configuration's file, as it is named.
    owner: String,
    /// Held from when it was first needed.
    lock: Option<Flock<File>>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Directory(io::Error),
    #[error("another daemon with this configuration runs, and keeps its rooms in the same place")]
    Locked,
    #[error("{0}")]
    Lock(io::Error),
}

impl KeptFile {
    /// The file of the daemon whose configuration is read from `config`, or is built in. Touches nothing.
    pub(super) fn new(dirs: Dirs, config: Option<&Path>) -> KeptFile {
        let owner = instance_of(config);
        let path = dirs.state.join(format!("rooms-{:08x}", crc32fast::hash(owner.as_bytes())));
        KeptFile { dirs, path, owner, lock: None }
    }

    /// Makes rooms, and has them go on from where the process before stopped, if it left anything, and what it left beside
    /// them. It is gone then in any case. Without `server.keep_on_restart` it is only taken away.
    pub(super) fn begin(
        &mut self,
        config: &Arc<Config>,
        bells: &[Arc<Bell>],
        metrics: &Arc<Metrics>,
    ) -> io::Result<(Arc<Rooms>, Vec<String>)> {
        let anew = || Ok((Rooms::new(config, bells.to_vec(), Arc::clone(metrics))?, Vec::new()));
        if !config.server.keep_on_restart {
            if self.path.exists() && self.acquire().is_ok() {
                let _ = self.take();
                self.lock = None;
            }
            return anew();
        }
        if let Err(why) = self.acquire() {
            let hint = "give the daemon a state directory of its own, or set server.keep_on_restart = false";
            tracing::warn!(%why, hint, "rooms will not be kept over a restart");
            return anew();
        }
        let begun = Instant::now();
        let read = match self.take() {
            Ok(None) => return anew(),
            Ok(Some(file)) => check(&file).and_then(|len| {
                let from = (self.owner.as_str(), &file, len);
                Rooms::going_on(config, bells.to_vec(), Arc::clone(metrics), from)
            }),
            Err(error) => Err(error.into()),
        };
        match read {
            Ok((made, Kept { rooms, events, remembered }, beside)) => {
                let ms = begun.elapsed().as_millis() as u64;
                tracing::info!(rooms, events, remembered, ms, "rooms go on where they were");
                Ok((made, beside))
            }
            Err(why) => {
                let file = self.path.display();
                tracing::warn!(%file, %why, "rooms begin anew: what was kept of them is of no use");
                anew()
            }
        }
    }

    /// What of the time for stopping is reserved for writing so many bytes of history: at most a quarter.
    pub(super) fn reserve(drain_timeout: Duration, bytes: u64) -> Duration {
        let needed = Duration::from_millis(50 + bytes * 1000 / BYTES_PER_SECOND);
        needed.min(drain_timeout / 4)
    }

    /// Writes rooms for the next process, and what it is to have beside them, when nobody publishes any more; until `deadline`, or for a second if that is
    /// later. Afterwards the file is whole or not there.
    pub(super) fn write(&mut self, rooms: &Rooms, beside: &[String], deadline: Instant) {
        let begun = Instant::now();
        let until = deadline.max(begun + LEAST);
        let written = match self.acquire() {
            Ok(()) => self.write_file(rooms, beside, until).map_err(|error| error.to_string()),
            Err(why) => Err(why.to_string()),
        };
        match written {
            Ok((Kept { rooms, events, remembered }, bytes)) => {
                let ms = begun.elapsed().as_millis() as u64;
                tracing::info!(rooms, events, remembered, bytes, ms, "rooms are kept for the next start");
            }
            Err(why) => {
                tracing::warn!(why, "rooms are not kept for the next start: they will begin anew");
            }
        }
    }

    /// Makes the state directory if need be, and takes the lock, unless it is held already.
    fn acquire(&mut self) -> Result<(), Unusable> {
        if self.lock.is_some() {
            return Ok(());
        }
        self.dirs.prepare_state(geteuid().as_raw()).map_err(Unusable::Directory)?;
        let file = options().create(true).open(self.path.with_extension("lock")).map_err(Unusable::Lock)?;
        self.lock =
            Some(Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
                Errno::EWOULDBLOCK => Unusable::Locked,
                other => Unusable::Lock(other.into()),
            })?);
        Ok(())
    }

    /// Opens the file and removes it, whatever it is, and what a write that was cut short has left. None if there is none.
    fn take(&self) -> io::Result<Option<File>> {
        let _ = fs::remove_file(self.unfinished());
        let opened = options().open(&self.path);
        if matches!(&opened, Err(error) if error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        fs::remove_file(&self.path)?;
        self.sync_directory()?;
        opened.map(Some)
    }

    fn write_file(&self, rooms: &Rooms, beside: &[String], until: Instant) -> io::Result<(Kept, u64)> {
        let unfinished = self.unfinished();
        let write = || {
            let _ = fs::remove_file(&unfinished);
            let file = options().create_new(true).open(&unfinished)?;
            let kept = rooms.keep(&self.owner, beside, &file, until)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            self.sync_directory()?;
            Ok((kept, file.metadata()?.len()))
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
    }

    fn unfinished(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    /// Has the disk know what is in the directory.
    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.dirs.state)?.sync_all()
    }
}

/// The length of a file of this user's alone.
fn check(file: &File) -> Result<u64, NotKept> {
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        let (mode, uid) = (found.mode() & 0o7777, found.uid());
        let why = format!("it is not a file of this user's alone (mode {mode:04o}, user {uid})");
        return Err(io::Error::new(ErrorKind::PermissionDenied, why).into());
    }
    Ok(found.len())
}

/// For this user alone, and never through a symbolic link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits());
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_known_by_its_configuration() {
        let dirs = Dirs { runtime: "/run/b".into(), state: "/var/lib/b".into() };
        let path = |config: Option<&str>| KeptFile::new(dirs.clone(), config.map(Path::new)).path;
        assert_eq!(path(Some("/etc/a.toml")), path(Some("/etc/./a.toml")));
        assert_ne!(path(Some("/etc/a.toml")), path(Some("/etc/b.toml")));
        assert_ne!(path(Some("/etc/a.toml")), path(None));
        assert!(path(None).starts_with("/var/lib/b"));
    }

    #[test]
    fn writing_has_a_share_of_the_time() {
        let seconds = Duration::from_secs;
        assert_eq!(KeptFile::reserve(seconds(10), 0), Duration::from_millis(50));
        assert_eq!(KeptFile::reserve(seconds(10), 64 << 20), Duration::from_millis(1050));
        assert_eq!(KeptFile::reserve(seconds(10), 4 << 30), Duration::from_millis(2500));
        assert_eq!(KeptFile::reserve(Duration::ZERO, 4 << 30), Duration::ZERO);
    }
}
