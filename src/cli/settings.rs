//! Which configuration is meant: the same arguments for every command, before or after its name.

use super::args::{Cli, Command, Serve};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use std::path::{Path, PathBuf};

/// Arguments that say which configuration is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Use the built-in configuration, whatever files there are
    #[arg(long)]
    pub defaults: bool,
    /// Set a key of the configuration, as TOML; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Settings {
    /// True if the arguments or the environment name a configuration.
    pub(super) fn are_named(&self) -> bool {
        self.defaults
            || self.config.is_some()
            || std::env::var_os("BROADCASTD_CONFIG").is_some_and(|file| !file.is_empty())
    }

    /// Takes in what stands elsewhere on the command line. The error says which two arguments contradict each other.
    fn merge(&mut self, before: Settings, file: Option<PathBuf>) -> Result<(), String> {
        for other in before.config.into_iter().chain(file) {
            match &self.config {
                Some(config) if !is_same(config, &other) => {
                    let (config, other) = (config.display(), other.display());
                    return Err(format!("two configuration files are given: {config} and {other}"));
                }
                Some(_) => {}
                None => self.config = Some(other),
            }
        }
        self.defaults |= before.defaults;
        self.set.splice(0..0, before.set);
        match &self.config {
            Some(config) if self.defaults => {
                let config = config.display();
                Err(format!("--defaults runs without a file, and one is given: {config}"))
            }
            _ => Ok(()),
        }
    }
}

/// True for two names of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

impl Cli {
    /// The command, with the arguments that stand before its name. The error is one of usage.
    pub fn into_command(self) -> Result<Command, clap::Error> {
        let Cli { command, serve } = self;
        let mut command = command.unwrap_or_else(|| Command::Serve(Serve::default()));
        merge(&mut command, serve)
            .map_err(|why| Cli::command().error(ErrorKind::ArgumentConflict, format!("{why}\n")))?;
        Ok(command)
    }
}

fn merge(command: &mut Command, before: super::args::ServeArgs) -> Result<(), String> {
    if let Command::Serve(Serve { serve, file }) = command {
        serve.stdin |= before.stdin;
        serve.verbose = serve.verbose.saturating_add(before.verbose);
        return serve.settings.merge(before.settings, file.take());
    }
    if before.stdin || before.verbose > 0 {
        let argument = if before.stdin { "--stdin" } else { "--verbose" };
        return Err(format!("{argument} is an argument of serve"));
    }
    let (settings, file) = match command {
        Command::Serve(_) => return Ok(()),
        Command::Check(args) => (&mut args.settings, args.file.take()),
        Command::Config(args) => (&mut args.settings, args.file.take()),
        Command::Doctor(args) => (&mut args.settings, args.file.take()),
        Command::Reload(args) => (&mut args.settings, args.file.take()),
        Command::Status(args) => (&mut args.settings, args.file.take()),
        Command::Top(args) => (&mut args.settings, args.file.take()),
        Command::Publish(args) => (&mut args.settings, None),
        Command::Tail(args) => (&mut args.settings, None),
        Command::Replay(args) => (&mut args.settings, None),
        Command::Bench(args) => (&mut args.settings, None),
        Command::Init(_) | Command::Completions(_) | Command::Man(_) => {
            let Settings { config, defaults, set } = before.settings;
            return if config.is_none() && !defaults && set.is_empty() {
                Ok(())
            } else {
                Err("init, completions and man read no configuration".to_owned())
            };
        }
    };
    settings.merge(before.settings, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The configuration that `check` is told of, and the keys that are set.
    fn check(arguments: &[&str]) -> Result<(Option<PathBuf>, Vec<String>), String> {
        let cli =
            Cli::try_parse_from(["broadcastd"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        match cli.into_command().map_err(|error| error.to_string())? {
            Command::Check(args) => Ok((args.settings.config, args.settings.set)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_stand_before_or_after_the_command() {
        let named = Ok((Some(PathBuf::from("a.toml")), vec!["x=1".to_owned(), "y=2".to_owned()]));
        for arguments in [
            &["--set", "x=1", "check", "--set", "y=2", "a.toml"][..],
            &["--set", "x=1", "--set", "y=2", "-c", "a.toml", "check"],
            &["-c", "a.toml", "check", "--set", "x=1", "a.toml", "--set", "y=2"],
            &["check", "-c", "a.toml", "a.toml", "--set", "x=1", "--set", "y=2"],
        ] {
            assert_eq!(check(arguments), named, "{arguments:?}");
        }
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        for (arguments, says) in [
            (&["check", "-c", "a.toml", "b.toml"][..], "a.toml and b.toml"),
            (&["-c", "a.toml", "check", "-c", "b.toml"], "b.toml and a.toml"),
            (&["check", "--defaults", "a.toml"], "--defaults runs without a file"),
            (&["--stdin", "check"], "--stdin is an argument of serve"),
        ] {
            let error = check(arguments).unwrap_err();
            assert!(error.contains(says), "{arguments:?}: {error}");
        }
        let init = Cli::parse_from(["broadcastd", "--set", "x=1", "init"]).into_command();
        assert!(init.unwrap_err().to_string().contains("read no configuration"));
    }
}
