//! The command line as values.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::error::{Error, Result};

const HELP: &str = include_str!("help.txt");

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    Say(&'static str),
    Apply,
    Routes,
    Serve(PathBuf),
}

pub fn parse(mut arguments: lexopt::Parser) -> Result<Wish> {
    let (mut wish, mut directory) = (None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Wish::Say(HELP)),
            Long("version") | Short('V') => {
                let text = concat!("stockade-net ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Wish::Say(text));
            }
            Long("dir") => directory = Some(PathBuf::from(arguments.value()?)),
            Value(word) if wish.is_none() => {
                wish = Some(match word.to_str() {
                    Some("apply") => Wish::Apply,
                    Some("routes") => Wish::Routes,
                    Some("serve") => Wish::Serve(PathBuf::new()),
                    _ => return Err(Error::Usage(format!("{word:?} is no command"))),
                });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match (wish, directory) {
        (None, _) => Err(Error::Usage("a command is missing".to_owned())),
        (Some(Wish::Serve(_)), Some(directory)) => Ok(Wish::Serve(directory)),
        (Some(Wish::Serve(_)), None) => Err(Error::Usage("serve needs --dir".to_owned())),
        (Some(_), Some(_)) => Err(Error::Usage("--dir goes with serve".to_owned())),
        (Some(wish), None) => Ok(wish),
    }
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
        let serve = wish(&["serve", "--dir", "/run/x"]).unwrap();
        assert_eq!(serve, Wish::Serve(PathBuf::from("/run/x")));
        for words in [
            &[][..],
            &["frob"],
            &["serve"],
            &["apply", "--dir", "x"],
            &["apply", "routes"],
            &["--frob"],
        ] {
            assert!(wish(words).is_err(), "{words:?}");
        }
    }
}
