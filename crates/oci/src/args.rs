//! Command lines as runc's callers write them, from a table of flags.
//!
//! Go's conventions hold, which no ready parser speaks: `-no-subreaper` is `--no-subreaper`, `--detach=false` takes a
//! switch back, and flags may follow the operands (`delete ID --force`) except where operands are somebody else's
//! command line. Parsing touches nothing but memory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

/// One flag of the table; `value` is the placeholder that help shows, and says that the flag takes a value.
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    pub value: Option<&'static str>,
    pub about: &'static str,
}

impl Flag {
    pub const fn switch(name: &'static str, about: &'static str) -> Flag {
        Flag {
            name,
            short: None,
            value: None,
            about,
        }
    }

    pub const fn value(name: &'static str, value: &'static str, about: &'static str) -> Flag {
        Flag {
            name,
            short: None,
            value: Some(value),
            about,
        }
    }

    pub const fn short(self, short: char) -> Flag {
        Flag {
            short: Some(short),
            ..self
        }
    }
}

/// Where flags may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Anywhere,
    BeforeOperands,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: --{0}")]
    NoValue(&'static str),
    #[error("invalid value {value:?} for flag --{flag}: {reason}")]
    Invalid {
        flag: &'static str,
        value: String,
        reason: &'static str,
    },
}

/// What a command line said.
#[derive(Debug, Default, PartialEq)]
pub struct Args {
    flags: Vec<(&'static str, OsString)>,
    pub operands: Vec<OsString>,
}

impl Args {
    /// Reads `argv` up to its end or, before operands, up to the first of these, which is left with the rest in
    /// [`Args::operands`].
    pub fn parse(
        table: &[Flag],
        argv: impl IntoIterator<Item = OsString>,
        order: Order,
    ) -> Result<Args, Error> {
        let mut args = Args::default();
        let mut argv = argv.into_iter();
        while let Some(arg) = argv.next() {
            let bytes = arg.as_bytes();
            if bytes == b"--" {
                args.operands.extend(argv);
                break;
            }
            if bytes.len() < 2 || bytes[0] != b'-' {
                args.operands.push(arg);
                if order == Order::BeforeOperands {
                    args.operands.extend(argv);
                    break;
                }
                continue;
            }
            args.flag(table, bytes, &mut argv)?;
        }
        Ok(args)
    }

    fn flag(
        &mut self,
        table: &[Flag],
        arg: &[u8],
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Error> {
        let text = &arg[if arg.starts_with(b"--") { 2 } else { 1 }..];
        let (name, inline) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (
                &text[..at],
                Some(OsStr::from_bytes(&text[at + 1..]).to_owned()),
            ),
            None => (text, None),
        };
        let Some(flag) = find(table, name) else {
            return self.cluster(table, arg, name, inline.is_some());
        };
        let value = match (flag.value, inline) {
            (_, Some(inline)) => inline,
            (None, None) => OsString::from("true"),
            (Some(_), None) => rest.next().ok_or(Error::NoValue(flag.name))?,
        };
        if flag.value.is_none() && truth(&value).is_none() {
            let value = value.to_string_lossy().into_owned();
            return Err(Error::Invalid {
                flag: flag.name,
                value,
                reason: "neither true nor false",
            });
        }
        self.flags.push((flag.name, value));
        Ok(())
    }

    /// `-it`: several switches behind one dash.
    fn cluster(
        &mut self,
        table: &[Flag],
        arg: &[u8],
        name: &[u8],
        valued: bool,
    ) -> Result<(), Error> {
        let unknown = || Error::Unknown(String::from_utf8_lossy(name).into_owned());
        if arg.starts_with(b"--") || valued {
            return Err(unknown());
        }
        for short in name {
            let flag = find(table, &[*short])
                .filter(|flag| flag.value.is_none())
                .ok_or_else(unknown)?;
            self.flags.push((flag.name, "true".into()));
        }
        Ok(())
    }

    /// The switch's last word.
    pub fn has(&self, name: &str) -> bool {
        self.last(name)
            .is_some_and(|value| truth(value).unwrap_or(true))
    }

    /// Whether the flag stands on the command line at all.
    pub fn given(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.last(name).map(PathBuf::from)
    }

    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Error> {
        self.last(name).map(|value| utf8(name, value)).transpose()
    }

    /// Every value of a flag that may be repeated, in order.
    pub fn texts(&self, name: &'static str) -> Result<Vec<String>, Error> {
        let values = self.flags.iter().filter(|(flag, _)| *flag == name);
        values
            .map(|(_, value)| utf8(name, value).map(str::to_owned))
            .collect()
    }

    pub fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Error> {
        self.text(name)?.map(|text| number(name, text)).transpose()
    }

    fn last(&self, name: &str) -> Option<&OsStr> {
        self.flags
            .iter()
            .rev()
            .find(|(flag, _)| *flag == name)
            .map(|(_, value)| value.as_os_str())
    }
}

/// A decimal number that was the value of `flag`.
pub fn number<T: FromStr>(flag: &'static str, text: &str) -> Result<T, Error> {
    text.trim().parse().map_err(|_| Error::Invalid {
        flag,
        value: text.into(),
        reason: "not a number in range",
    })
}

fn find<'a>(table: &'a [Flag], name: &[u8]) -> Option<&'a Flag> {
    table.iter().find(|flag| {
        flag.name.as_bytes() == name
            || (name.len() == 1
                && flag
                    .short
                    .is_some_and(|short| short as u32 == u32::from(name[0])))
    })
}

fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn utf8<'a>(flag: &'static str, value: &'a OsStr) -> Result<&'a str, Error> {
    let invalid = || Error::Invalid {
        flag,
        value: value.to_string_lossy().into_owned(),
        reason: "not UTF-8",
    };
    value.to_str().ok_or_else(invalid)
}

/// An operand as text; what is no UTF-8 cannot name anything here and becomes a text that matches nothing.
pub fn operand(value: &OsStr) -> String {
    String::from_utf8(value.to_owned().into_vec())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag::switch("detach", "").short('d'),
        Flag::switch("tty", "").short('t'),
        Flag::switch("no-subreaper", ""),
        Flag::value("bundle", "DIR", "").short('b'),
        Flag::value("env", "K=V", "").short('e'),
    ];

    fn parse(line: &str, order: Order) -> Result<Args, Error> {
        Args::parse(TABLE, line.split_whitespace().map(OsString::from), order)
    }

    #[test]
    fn go_spellings_are_understood() {
        let args = parse(
            "-no-subreaper --detach=false -b=/x -e A=1 --env B=2 id --tty",
            Order::Anywhere,
        )
        .unwrap();
        assert!(
            args.has("no-subreaper")
                && args.has("tty")
                && !args.has("detach")
                && args.given("detach")
        );
        assert_eq!(args.path("bundle"), Some(PathBuf::from("/x")));
        assert_eq!(args.texts("env").unwrap(), ["A=1", "B=2"]);
        assert_eq!(args.operands, ["id"]);
    }

    #[test]
    fn a_foreign_command_line_is_left_alone() {
        let args = parse("-td id ls -l --all", Order::BeforeOperands).unwrap();
        assert!(args.has("tty") && args.has("detach"));
        assert_eq!(args.operands, ["id", "ls", "-l", "--all"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, text) in [
            ("--bogus", "flag provided but not defined: -bogus"),
            ("-tx", "flag provided but not defined: -tx"),
            ("--bundle", "flag needs an argument: --bundle"),
            (
                "--detach=maybe",
                "invalid value \"maybe\" for flag --detach: neither true nor false",
            ),
        ] {
            assert_eq!(parse(line, Order::Anywhere).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn a_value_may_begin_with_a_dash() {
        let args = parse("--env -1 -- --bundle", Order::Anywhere).unwrap();
        assert_eq!(args.text("env").unwrap(), Some("-1"));
        assert_eq!(args.operands, ["--bundle"]);
    }
}
