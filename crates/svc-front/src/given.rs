//! The flags as they were given: where each value comes from, and what of it may be shown.

use std::ffi::OsString;
use std::process::exit;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, Error, FromArgMatches};
use svc_runtime::problem::masked;

/// Command line and environment of a service.
#[derive(Debug)]
pub(crate) struct Given {
    command: Command,
    matches: ArgMatches,
}

/// One flag in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InForce {
    /// As in `--redis-url`.
    pub flag: String,
    /// Without what is secret in it; `none` where there is none.
    pub value: String,
    /// `default`, `flag`, or the variable.
    pub origin: String,
}

/// The configuration, checked value by value. A wrong value ends the process, naming the flag and
/// what would be right: with code 2, or 1 where the configuration was only to be checked.
pub(crate) fn parse<C: CommandFactory + FromArgMatches>() -> (C, Given) {
    let words: Vec<OsString> = std::env::args_os().collect();
    let only_checked = words.iter().any(|word| word == "--check")
        || std::env::var_os("CHECK").is_some_and(|value| value == "true");
    try_parse(words).unwrap_or_else(|error| {
        if error.use_stderr() && only_checked {
            // Nothing is left to be said if nobody hears it.
            let _ = error.print();
            exit(1);
        }
        error.exit()
    })
}

fn try_parse<C: CommandFactory + FromArgMatches>(
    words: Vec<OsString>,
) -> Result<(C, Given), Error> {
    let mut command = C::command();
    let matches = command.try_get_matches_from_mut(words).map_err(without_secrets)?;
    let config =
        C::from_arg_matches(&matches).map_err(|e| without_secrets(e.format(&mut command)))?;
    Ok((config, Given { command, matches }))
}

/// The library quotes a value that is wrong.
fn without_secrets(mut error: Error) -> Error {
    let of_redis = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => flag.contains("--redis-url"),
        _ => false,
    };
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        // Of what is no URL cannot be told what in it is the password.
        let shown = if of_redis { "***".to_owned() } else { masked(value) };
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    error
}

impl Given {
    /// Name and version of the program.
    pub(crate) fn program(&self) -> String {
        let version = self.command.get_version().unwrap_or_default();
        format!("{} {version}", self.command.get_name())
    }

    /// Every flag, as `--help` has them.
    pub(crate) fn in_force(&self) -> Vec<InForce> {
        let flags = self.command.get_arguments();
        flags
            .filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version"))
            .map(|flag| InForce {
                flag: format!("--{}", flag.get_long().unwrap_or_default()),
                value: self.value(flag),
                origin: self.origin(flag),
            })
            .collect()
    }

    fn value(&self, flag: &Arg) -> String {
        let id = flag.get_id().as_str();
        if matches!(flag.get_action(), ArgAction::SetTrue) {
            return self.matches.get_flag(id).to_string();
        }
        let values = self.matches.get_raw(id).into_iter().flatten();
        let shown: Vec<String> = values.map(|value| masked(&value.to_string_lossy())).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(",") }
    }

    fn origin(&self, flag: &Arg) -> String {
        match self.matches.value_source(flag.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "flag".to_owned(),
            Some(ValueSource::EnvVariable) => {
                let variable = flag.get_env().unwrap_or_default().to_string_lossy();
                format!("environment ({variable})")
            }
            _ => "default".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::FrontArgs;

    #[derive(Debug, Parser)]
    #[command(name = "svc", version = "1.2.3")]
    struct Cli {
        #[command(flatten)]
        front: FrontArgs,
    }

    fn given(words: &str) -> Result<Given, Error> {
        let words = std::iter::once("svc").chain(words.split_whitespace());
        try_parse::<Cli>(words.map(OsString::from).collect()).map(|(cli, given)| {
            assert!(!format!("{cli:?}").contains("hidden"));
            given
        })
    }

    #[test]
    fn every_flag_is_told_with_where_it_comes_from() {
        let given = given("--redis-url redis://u:hidden@h --no-reflection").unwrap();
        assert_eq!(given.program(), "svc 1.2.3");
        let all = given.in_force();
        let of = |flag: &str| {
            let found = all.iter().find(|in_force| in_force.flag == flag).unwrap();
            (found.value.as_str(), found.origin.as_str())
        };
        assert_eq!(of("--redis-url"), ("redis://***@h", "flag"));
        assert_eq!(of("--no-reflection"), ("true", "flag"));
        assert_eq!(of("--redis-ca"), ("none", "default"));
        assert_eq!(of("--check"), ("false", "default"));
        assert_eq!(of("--shutdown-timeout"), ("25s", "default"));
    }

    #[test]
    fn a_wrong_value_is_named_without_what_is_secret_in_it() {
        for (words, named) in [
            ("--redis-url http://u:hidden@h", "redis://[user:password@]host"),
            ("--redis-url u:hidden@h", "redis://[user:password@]host"),
            ("--otlp-endpoint https://u:hidden@h", "must be plain http://"),
            ("--shutdown-timeout soon", "500ms, 30s or 1h"),
        ] {
            let error = given(words).unwrap_err().to_string();
            let flag = words.split(' ').next().unwrap();
            assert!(error.contains(flag) && error.contains(named), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
