//! The command line as values.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::choice::Choice;
use crate::moment::Moment;
use crate::sink::{Form, Kind};
use crate::{Error, HELP, Result};

/// What is asked for.
#[derive(Debug)]
pub enum Wish {
    Say(&'static str),
    Read(Options),
}

#[derive(Debug, Default)]
pub struct Options {
    pub path: PathBuf,
    pub follow: bool,
    /// The bundle whose end is the log's.
    pub until_exit: Option<PathBuf>,
    pub tail: Option<u64>,
    pub choice: Choice,
    pub form: Form,
}

pub fn parse(mut arguments: lexopt::Parser) -> Result<Wish> {
    let mut options = Options::default();
    let mut path = None;
    let (mut stdout, mut stderr) = (false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Wish::Say(HELP)),
            Long("version") | Short('V') => {
                return Ok(Wish::Say(concat!(
                    "stockade-logs ",
                    env!("CARGO_PKG_VERSION"),
                    "\n"
                )));
            }
            Long("follow") => options.follow = true,
            Long("until-exit") => options.until_exit = Some(arguments.value()?.into()),
            Long("tail") => options.tail = Some(arguments.value()?.parse()?),
            Long("since") => options.choice.since = Some(moment(&mut arguments)?),
            Long("until") => options.choice.until = Some(moment(&mut arguments)?),
            Long("stdout") => stdout = true,
            Long("stderr") => stderr = true,
            Long("timestamps") => options.form.timestamps = true,
            Long("details") => options.form.details = true,
            Long("framed") => set_kind(&mut options.form, Kind::Framed)?,
            Long("json") => set_kind(&mut options.form, Kind::Json)?,
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    options.path = path.ok_or_else(|| Error::Usage("a file is missing".to_owned()))?;
    if stdout || stderr {
        (options.choice.stdout, options.choice.stderr) = (stdout, stderr);
    }
    let form = &options.form;
    if form.kind == Kind::Json && (form.timestamps || form.details) {
        return Err(Error::Usage(
            "--json has times and attributes already".to_owned(),
        ));
    }
    if options.until_exit.is_some() && !options.follow {
        return Err(Error::Usage("--until-exit needs --follow".to_owned()));
    }
    Ok(Wish::Read(options))
}

fn set_kind(form: &mut Form, kind: Kind) -> Result<()> {
    if form.kind != Kind::Raw && form.kind != kind {
        return Err(Error::Usage(
            "--framed and --json contradict each other".to_owned(),
        ));
    }
    form.kind = kind;
    Ok(())
}

fn moment(arguments: &mut lexopt::Parser) -> Result<Moment> {
    let text = arguments.value()?.string()?;
    Moment::parse(&text).ok_or_else(|| {
        Error::Usage(format!(
            "{text:?} is no moment: 2026-01-31T12:00:00Z, or seconds since 1970"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options> {
        match parse(lexopt::Parser::from_args(words))? {
            Wish::Read(options) => Ok(options),
            Wish::Say(text) => panic!("{text}"),
        }
    }

    #[test]
    fn streams_are_both_unless_one_is_named() {
        let streams = |words: &[&str]| {
            let choice = options(words).unwrap().choice;
            (choice.stdout, choice.stderr)
        };
        assert_eq!(streams(&["f"]), (true, true));
        assert_eq!(streams(&["--stderr", "f"]), (false, true));
        assert_eq!(streams(&["f", "--stdout", "--stderr"]), (true, true));
    }

    #[test]
    fn wrong_words_are_refused() {
        let cases: [&[&str]; 8] = [
            &[],
            &["a", "b"],
            &["--framed", "--json", "f"],
            &["--json", "--timestamps", "f"],
            &["--until-exit", "b", "f"],
            &["--tail", "-1", "f"],
            &["--since", "yesterday", "f"],
            &["--frob", "f"],
        ];
        for words in cases {
            assert!(options(words).is_err(), "{words:?}");
        }
    }
}
