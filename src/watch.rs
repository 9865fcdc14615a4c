//! Watching the configuration's file.
//!
//! Editors and configuration managers put another file in its place; deployments swap a symbolic link on the way to it, or
//! rename a folder and make it again. So every folder on the way is watched: by the file's own name, and through every
//! symbolic link. Of each folder only the name on the way counts, so that neighbours cause nothing.

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Symbolic links that are followed, as many as the kernel follows.
const MOST_LINKS: usize = 40;
/// Looks at a way that changes while its watches are placed. Later changes wake the watch again.
const LOOKS: usize = 3;

/// A watch over every folder on the way to a file.
pub struct Watcher {
    inner: RecommendedWatcher,
    /// Absolute, with its links.
    file: PathBuf,
    folders: Vec<Folder>,
    /// Places to compare events with; the callback reads them on the watch's thread.
    way: Arc<Mutex<Vec<PathBuf>>>,
}

/// A watched folder. A watch stays with the inode, wherever that is renamed to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Watcher {
    /// Watches. `changed` is called on a thread of the watch, with whether the writer has closed the file; it must not
    /// block. An error means that the system gives no watch: then the file is only looked at from time to time.
    pub fn start(file: &Path, changed: impl Fn(bool) + Send + 'static) -> notify::Result<Watcher> {
        let way: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let places = Arc::clone(&way);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is the loss of events, so that there may have been one.
            let Ok(event) = event else { return changed(true) };
            let places = places.lock().unwrap_or_else(PoisonError::into_inner);
            if !concerns(&event, &places) {
                return;
            }
            match event.kind {
                // Our own reading.
                EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => {}
                EventKind::Modify(notify::event::ModifyKind::Data(_)) => changed(false),
                _ => changed(true),
            }
        })?;
        let mut watcher =
            Watcher { inner: watcher, file: std::path::absolute(file)?, folders: Vec::new(), way };
        watcher.follow();
        Ok(watcher)
    }

    /// Watches the folders where the file is now: links may lead elsewhere than before, and folders be other ones.
    pub fn follow(&mut self) {
        for _ in 0..LOOKS {
            let places = way_to(&self.file);
            self.watch(&places);
            self.way.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&places);
            if way_to(&self.file) == places {
                return;
            }
        }
    }

    fn watch(&mut self, places: &[PathBuf]) {
        let mut folders: Vec<Folder> = Vec::new();
        for folder in places.iter().filter_map(|place| Folder::at(place.parent()?)) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        for gone in self.folders.iter().filter(|folder| !folders.contains(folder)) {
            // The system may have ended the watch already, with its folder.
            let _ = self.inner.unwatch(&gone.path);
        }
        // A folder that cannot be watched is looked at from time to time, and here again.
        folders.retain(|folder| {
            self.folders.contains(folder)
                || self.inner.watch(&folder.path, RecursiveMode::NonRecursive).is_ok()
        });
        self.folders = folders;
    }
}

impl Folder {
    fn at(path: &Path) -> Option<Folder> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Folder { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

/// True if an event is about a place on the way, or about a folder of one. One without a path may be about anything.
fn concerns(event: &Event, places: &[PathBuf]) -> bool {
    let is_on_way = |path: &PathBuf| places.iter().any(|place| place == path || place.parent() == Some(path));
    event.paths.is_empty() || event.need_rescan() || event.paths.iter().any(is_on_way)
}

/// Every place that the kernel looks at on the way to a file: each name, in a folder whose own path has no links. The last
/// one is the file, or what is missing.
fn way_to(file: &Path) -> Vec<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        path.components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let mut rest: VecDeque<OsString> = names(file).into();
    let (mut at, mut places, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let place = at.join(&name);
        if !places.contains(&place) {
            places.push(place.clone());
        }
        match std::fs::read_link(&place) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            _ => at = place,
        }
    }
    places
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({})", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_way_goes_through_every_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("releases/1/etc")).unwrap();
        std::fs::write(root.join("releases/1/etc/a.toml"), "").unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink(root.join("current/etc/../etc/a.toml"), root.join("b.toml")).unwrap();
        let found = way_to(&root.join("b.toml"));
        let last: Vec<_> = found.iter().filter_map(|place| place.strip_prefix(&root).ok()).collect();
        let expected =
            ["", "b.toml", "current", "releases", "releases/1", "releases/1/etc", "releases/1/etc/a.toml"];
        assert_eq!(last, expected.map(Path::new));
    }

    #[test]
    fn a_circle_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path().join("a"), dir.path().join("a")).unwrap();
        assert!(way_to(&dir.path().join("a/b")).len() < 100);
    }
}
