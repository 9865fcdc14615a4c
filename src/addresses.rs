//! The addresses of a running daemon, for its tools: a file in the runtime directory.
//!
//! The daemon holds a lock on the file for as long as it runs, so that one left by a crash is known as such. There is one for each
//! configuration: whoever names the same file finds the daemon, whatever is in that file by now.

use crate::config::{Dirs, instance_of};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Runtime directory of the packaged service, for tools outside it. Only root makes folders there.
const SERVICE: &str = "/run/broadcastd";
/// A longer file is none of a daemon's.
const MOST_BYTES: u64 = 64 * 1024;

/// Addresses as the daemon prints them: `HOST:PORT`, or `unix:PATH`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// For clients.
    pub clients: Vec<String>,
    /// For operators.
    pub admin: Vec<String>,
    /// For producers, named pipes among them.
    pub ingest: Vec<String>,
}

/// The file of a daemon that runs.
#[derive(Debug)]
pub struct AddressFile {
    dirs: Dirs,
    path: PathBuf,
    held: Option<Flock<File>>,
}

impl AddressFile {
    /// The file of the daemon whose configuration is read from `config`, or is built in. Touches nothing.
    pub fn new(dirs: &Dirs, config: Option<&Path>) -> AddressFile {
        AddressFile { path: dirs.runtime.join(name(config)), dirs: dirs.clone(), held: None }
    }

    /// Puts the addresses into the file, in one step. The file goes with this value. Without it, tools read the configuration.
    pub fn leave(&mut self, addresses: &Addresses) {
        if let Err(error) = self.write(addresses) {
            tracing::debug!(%error, file = %self.path.display(), "cannot leave the addresses for tools");
        }
    }

    fn write(&mut self, addresses: &Addresses) -> io::Result<()> {
        self.dirs.prepare_runtime(nix::unistd::getuid().as_raw())?;
        let new = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(addresses)?)?;
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        fs::rename(&new, &self.path)?;
        self.held = Some(held);
        Ok(())
    }

    /// Addresses of the daemon that reads its configuration from `config`, if it runs here and this user may know.
    pub fn read(dirs: &Dirs, config: Option<&Path>) -> Option<Addresses> {
        let user = nix::unistd::getuid().as_raw();
        let found = read(&dirs.runtime.join(name(config)), |owner| owner == user || owner == 0);
        found.or_else(|| read(&Path::new(SERVICE).join(name(config)), |_| true))
    }
}

fn name(config: Option<&Path>) -> String {
    format!("addresses-{:08x}", crc32fast::hash(instance_of(config).as_bytes()))
}

fn read(path: &Path, is_trusted: impl Fn(u32) -> bool) -> Option<Addresses> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES || !is_trusted(metadata.uid()) {
        return None;
    }
    // The lock of a daemon that runs is in the way.
    let Err((file, _)) = Flock::lock(file, FlockArg::LockSharedNonblock) else { return None };
    serde_json::from_reader(file).ok()
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        let Some(held) = &self.held else { return };
        // Another daemon with the same configuration may have put its own in the place.
        let inode = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| metadata.ino());
        if inode(held.metadata()) == inode(fs::metadata(&self.path)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_while_their_daemon_runs() {
        let folder = tempfile::tempdir().unwrap();
        let dirs = Dirs { runtime: folder.path().join("run"), state: PathBuf::new() };
        let (config, other) = (Some(Path::new("/etc/a.toml")), Some(Path::new("/etc/b.toml")));
        let addresses = |port: &str| Addresses { admin: vec![port.to_owned()], ..Addresses::default() };
        let mut first = AddressFile::new(&dirs, config);
        assert_eq!(AddressFile::read(&dirs, config), None);
        first.write(&addresses("127.0.0.1:1")).unwrap();
        first.write(&addresses("127.0.0.1:2")).unwrap();
        assert_eq!(AddressFile::read(&dirs, config), Some(addresses("127.0.0.1:2")));
        assert_eq!(AddressFile::read(&dirs, other), None);
        // Another daemon with the same configuration: the newest counts, and the older one does not take it away.
        let mut second = AddressFile::new(&dirs, config);
        second.write(&addresses("127.0.0.1:3")).unwrap();
        drop(first);
        assert_eq!(AddressFile::read(&dirs, config), Some(addresses("127.0.0.1:3")));
        // A crash leaves the file, and nobody who holds it.
        let left = second.held.take();
        drop(left);
        drop(second);
        assert_eq!(AddressFile::read(&dirs, config), None);
        assert_eq!(fs::read_dir(&dirs.runtime).unwrap().count(), 1);
    }
}
