//! Unix sockets and named pipes: files with a mode and a group, in folders that may not be ours.

use super::{BindError, PENDING_CONNECTIONS, holder};
use crate::config::UnixAddr;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Group, User, getgid, getgroups, getuid, mkfifo};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket on Linux (`sockaddr_un`, unix(7)), without the zero at its end.
const LONGEST_PATH: usize = 107;

/// A socket's file, removed when dropped if it still is the one that was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A named pipe, open for reading and for writing: so its end never comes, and it survives its writers.
#[derive(Debug)]
pub struct Pipe {
    file: File,
    path: PathBuf,
}

/// What stops a file from being made or used: why, and what to do.
type Reason = (String, Option<String>);

/// Binds a Unix socket and listens.
pub(super) fn bind(key: &str, addr: &UnixAddr) -> Result<(UnixListener, SocketFile), BindError> {
    try_bind(addr).map_err(|(reason, hint)| BindError {
        key: key.to_owned(),
        message: format!("cannot listen on unix:{}: {reason}", addr.path.display()),
        hint,
    })
}

fn try_bind(addr: &UnixAddr) -> Result<(UnixListener, SocketFile), Reason> {
    let path = &addr.path;
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        let reason = format!("the path has {length} bytes, and a socket's can have {LONGEST_PATH}");
        return Err((reason, Some("use a shorter path".to_owned())));
    }
    let group = addr.group.as_deref().map(group_id).transpose()?;
    make_way(path)?;
    let plain = |error: io::Error| reason(path, &error);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(plain)?;
    // On Linux the file gets the mode that the socket has before it is bound, less the umask: nobody else can come in
    // before the group is set.
    fchmod(&socket, Mode::from_bits_truncate(addr.mode & 0o600)).map_err(|error| plain(error.into()))?;
    let name = SockAddr::unix(path).map_err(plain)?;
    socket.bind(&name).map_err(plain)?;
    let file = SocketFile::of(path).map_err(plain)?;
    own(path, addr.mode, group, addr.group.as_deref())?;
    socket.set_nonblocking(true).map_err(plain)?;
    socket.listen(PENDING_CONNECTIONS).map_err(plain)?;
    Ok((socket.into(), file))
}

/// Removes a stale socket's file, and nothing else.
fn make_way(path: &Path) -> Result<(), Reason> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reason(path, &error)),
    };
    if !metadata.file_type().is_socket() {
        let hint = "it is left alone: remove it, or use another path".to_owned();
        return Err(("a file that is no socket is there".to_owned(), Some(hint)));
    }
    match knock(path) {
        // Nobody listens. The file may be gone in the meantime.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(reason(path, &error)),
            _ => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err((
            "a socket is there that we may not connect to, so that it may be in use".to_owned(),
            folder(path),
        )),
        // A full queue is a live listener as well.
        _ => {
            let by = holder::of_unix(path)
                .map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
            Err((format!("{by} listens there"), Some("stop it, or use another path".to_owned())))
        }
    }
}

/// Connects without waiting, to learn whether anybody listens.
fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Sets the group, and then the mode as it was asked for, whatever the umask.
fn own(path: &Path, mode: u32, group: Option<Gid>, group_name: Option<&str>) -> Result<(), Reason> {
    if let Some(group) = group {
        chown(path, None, Some(group.as_raw())).map_err(|error| {
            let name = group_name.unwrap_or_default();
            let hint = format!("the daemon's user must be a member of {name} (SupplementaryGroups={name})");
            (format!("cannot give it to group {name}: {error}; {}", ourselves()), Some(hint))
        })?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| reason(path, &error))
}

fn group_id(name: &str) -> Result<Gid, Reason> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => {
            Err((format!("there is no group {name}"), Some(format!("`groupadd --system {name}` makes it"))))
        }
        Err(error) => Err((format!("cannot look up group {name}: {error}"), None)),
    }
}

/// Why a call on a path failed, with what of its folder explains it.
fn reason(path: &Path, error: &io::Error) -> Reason {
    match error.kind() {
        ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(path).display();
            (
                format!("there is no folder {parent}"),
                Some(format!("`mkdir -p {parent}`, or use another path")),
            )
        }
        ErrorKind::PermissionDenied => (format!("{error}; {}", ourselves()), folder(path)),
        _ => (error.to_string(), None),
    }
}

/// Owner, group and mode of the nearest folder of a path that can be seen.
fn folder(path: &Path) -> Option<String> {
    let (folder, metadata) =
        path.ancestors().skip(1).find_map(|folder| Some((folder, fs::metadata(folder).ok()?)))?;
    let user = User::from_uid(metadata.uid().into()).ok().flatten();
    let user = user.map_or_else(|| metadata.uid().to_string(), |user| user.name);
    Some(format!(
        "{} belongs to {user}:{} with mode {:04o}: let us write there, or use another path",
        folder.display(),
        group_name(metadata.gid().into()),
        metadata.mode() & 0o7777
    ))
}

/// Who we are: user and groups.
fn ourselves() -> String {
    let user = User::from_uid(getuid()).ok().flatten();
    let user = user.map_or_else(|| getuid().to_string(), |user| user.name);
    let mut groups = vec![getgid()];
    groups.extend(getgroups().unwrap_or_default().into_iter().filter(|group| *group != getgid()));
    let groups: Vec<String> = groups.into_iter().map(group_name).collect();
    format!("we are user {user}, groups {}", groups.join(", "))
}

fn group_name(id: Gid) -> String {
    Group::from_gid(id).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| metadata.dev() == self.device && metadata.ino() == self.inode);
        if is_ours {
            // A file that cannot be removed is stale for the next start, which replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Other rights for a socket or pipe that is there: ready to be given.
#[derive(Debug)]
pub struct Rights {
    addr: UnixAddr,
    group: Option<Gid>,
}

impl Rights {
    /// Looks the group up.
    pub fn new(key: &str, addr: &UnixAddr) -> Result<Rights, BindError> {
        match addr.group.as_deref().map(group_id).transpose() {
            Ok(group) => Ok(Rights { addr: addr.clone(), group }),
            Err((reason, hint)) => {
                let message = format!("cannot change {}: {reason}", addr.path.display());
                Err(BindError { key: key.to_owned(), message, hint })
            }
        }
    }

    /// Gives them. A failure is logged: the file stays as it was.
    pub fn give(&self) {
        let UnixAddr { path, mode, group } = &self.addr;
        if let Err((reason, _)) = own(path, *mode, self.group, group.as_deref()) {
            tracing::error!(path = %path.display(), reason, "mode and group cannot be changed");
        }
    }
}

impl Pipe {
    /// Makes the pipe if it is missing, and opens it. Needs no runtime. A file that is no pipe is left alone. The file
    /// stays when the pipe is dropped: writers may be waiting at it for the next start.
    pub fn bind(key: &str, addr: &UnixAddr) -> Result<Pipe, BindError> {
        let file = open_pipe(addr).map_err(|(reason, hint)| BindError {
            key: key.to_owned(),
            message: format!("cannot read from the pipe {}: {reason}", addr.path.display()),
            hint,
        })?;
        Ok(Pipe { file, path: addr.path.clone() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the pipe to the runtime that this is called in.
    pub fn receiver(self) -> io::Result<tokio::net::unix::pipe::Receiver> {
        tokio::net::unix::pipe::Receiver::from_file(self.file)
    }
}

fn open_pipe(addr: &UnixAddr) -> Result<File, Reason> {
    let path = &addr.path;
    let plain = |error: io::Error| reason(path, &error);
    match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_fifo() => {}
        Ok(_) => {
            let hint = "it is left alone: remove it, or use another path".to_owned();
            return Err(("a file that is no pipe is there".to_owned(), Some(hint)));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let group = addr.group.as_deref().map(group_id).transpose()?;
            mkfifo(path, Mode::from_bits_truncate(addr.mode & 0o600)).map_err(|error| plain(error.into()))?;
            own(path, addr.mode, group, addr.group.as_deref())?;
        }
        Err(error) => return Err(plain(error)),
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(plain)?;
    // The file may have been swapped since it was looked at.
    let is_pipe = file.metadata().map_err(plain)?.file_type().is_fifo();
    if is_pipe { Ok(file) } else { Err(("it is no pipe".to_owned(), None)) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The reason and the hint for a path that a call failed on, as one text.
    pub(in crate::listen) fn reason_of(path: &Path, kind: ErrorKind) -> String {
        let (reason, hint) = reason(path, &kind.into());
        format!("{reason}\n{}", hint.unwrap_or_default())
    }
}
