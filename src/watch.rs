//! Watching the configuration's file.
//!
//! The folders are watched, not the file: editors and configuration managers put another file in its place, and
//! Kubernetes swaps a symbolic link beside it. Nothing is filtered by name; whoever is told compares the file itself.

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};

/// A watch over the folders that a file lies in, by its own name and by the one that symbolic links lead to.
pub struct Watcher {
    inner: RecommendedWatcher,
    file: PathBuf,
    folders: Vec<PathBuf>,
}

impl Watcher {
    /// Watches. `changed` is called on a thread of the watch, with whether the writer has closed the file; it must not
    /// block. An error means that the system gives no watch: then the file is only looked at from time to time.
    pub fn start(file: &Path, changed: impl Fn(bool) + Send + 'static) -> notify::Result<Watcher> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            match event.map(|event| event.kind) {
                // Our own reading.
                Ok(EventKind::Access(kind)) if kind != AccessKind::Close(AccessMode::Write) => {}
                Ok(EventKind::Modify(notify::event::ModifyKind::Data(_))) => changed(false),
                // An error is the loss of events, so that there may have been one.
                Ok(_) | Err(_) => changed(true),
            }
        })?;
        let mut watcher = Watcher { inner: watcher, file: file.to_owned(), folders: Vec::new() };
        watcher.follow();
        Ok(watcher)
    }

    /// Watches the folders where the file is now: symbolic links may lead elsewhere than before.
    pub fn follow(&mut self) {
        let parent = |file: &Path| {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
        };
        let mut folders = vec![parent(&self.file)];
        folders.extend(std::fs::canonicalize(&self.file).ok().map(|file| parent(&file)));
        for folder in &folders {
            if !self.folders.contains(folder) {
                // A folder that cannot be watched is looked at from time to time.
                let _ = self.inner.watch(folder, RecursiveMode::NonRecursive);
            }
        }
        for gone in self.folders.iter().filter(|folder| !folders.contains(folder)) {
            // Gone by itself, maybe.
            let _ = self.inner.unwatch(gone);
        }
        self.folders = folders;
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({})", self.file.display())
    }
}
