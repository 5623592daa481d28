//! The command line as values.

use lexopt::prelude::*;

use crate::error::{Error, Result};

const HELP: &str = include_str!("help.txt");

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    Say(&'static str),
    Apply,
    Routes,
}

pub fn parse(mut arguments: lexopt::Parser) -> Result<Wish> {
    let mut wish = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Wish::Say(HELP)),
            Long("version") | Short('V') => {
                let text = concat!("stockade-net ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Wish::Say(text));
            }
            Value(word) if wish.is_none() => {
                wish = Some(match word.to_str() {
                    Some("apply") => Wish::Apply,
                    Some("routes") => Wish::Routes,
                    _ => return Err(Error::Usage(format!("{word:?} is no command"))),
                });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    wish.ok_or_else(|| Error::Usage("a command is missing".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &[&str]) -> Result<Wish> {
        parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn commands() {
        assert_eq!(wish(&["apply"]).unwrap(), Wish::Apply);
        assert_eq!(wish(&["routes"]).unwrap(), Wish::Routes);
        assert!(matches!(wish(&["--help"]), Ok(Wish::Say(_))));
        for words in [&[][..], &["frob"], &["apply", "routes"], &["--frob"]] {
            assert!(wish(words).is_err(), "{words:?}");
        }
    }
}
