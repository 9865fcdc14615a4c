//! Words that every part shares about failing.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// Something failed while running, or could not be bound.
    Runtime,
    /// The command line is wrong (`EX_USAGE`).
    Usage,
    /// Some of what was to be published was refused (`EX_DATAERR`).
    Rejected,
    /// No room has such a name (`EX_NOINPUT`).
    NoRoom,
    /// The daemon cannot be reached, or lets nobody in (`EX_UNAVAILABLE`).
    Unreachable,
    /// What was waited for did not come in time (`EX_TEMPFAIL`).
    Deadline,
    /// The configuration is wrong (`EX_CONFIG`).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Runtime => 1,
            Exit::Usage => 64,
            Exit::Rejected => 65,
            Exit::NoRoom => 66,
            Exit::Unreachable => 69,
            Exit::Deadline => 75,
            Exit::Config => 78,
        })
    }
}
