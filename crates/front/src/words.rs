//! A command line as an exec. `cli/exec.py` has the whole grammar; what is not named here is left to it.

use std::ffi::OsString;

/// `exec NAME CMD…` without a terminal, in the foreground.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    pub container: String,
    pub command: Vec<String>,
    /// `NAME=VALUE`, each name once.
    pub env: Vec<String>,
    pub workdir: String,
    pub user: String,
    pub stdin: bool,
}

/// Reads a command line; `None`: it is Python's. `environ` finds a variable of the caller's.
pub fn parse(words: &[OsString], environ: impl Fn(&str) -> Option<String>) -> Option<Wanted> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let mut words = words?.into_iter();
    if words.next()? != "exec" {
        return None;
    }
    let (mut env, mut workdir, mut user, mut stdin) = (Vec::new(), "", "", false);
    let container = loop {
        let word = words.next()?;
        if !word.starts_with('-') || word == "-" {
            break word;
        }
        let (name, attached) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, attached) {
            ("--", None) => break words.next()?,
            ("-i" | "--interactive", None) => stdin = true,
            ("-e" | "--env", _) => add(&mut env, attached.or_else(|| words.next())?, &environ)?,
            ("-w" | "--workdir", _) => workdir = attached.or_else(|| words.next())?,
            ("-u" | "--user", _) => user = attached.or_else(|| words.next())?,
            _ => return None,
        }
    };
    let command: Vec<String> = words.map(str::to_owned).collect();
    (!command.is_empty()).then(|| Wanted {
        container: container.into(),
        command,
        env,
        workdir: workdir.into(),
        user: user.into(),
        stdin,
    })
}

/// `NAME=VALUE`, or the caller's own value of `NAME` if it has one; the last of a name counts.
fn add(env: &mut Vec<String>, word: &str, environ: &impl Fn(&str) -> Option<String>) -> Option<()> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match environ(word) {
            Some(value) => (word, value),
            // Not set, or not text: the difference is Python's to make.
            None => return None,
        },
    };
    if name.is_empty() {
        return None;
    }
    let before = env.iter().position(|one| {
        one.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('='))
    });
    let pair = format!("{name}={value}");
    match before {
        Some(at) => env[at] = pair,
        None => env.push(pair),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Wanted> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse(&words, |name| (name == "HOME").then(|| "/home/me".into()))
    }

    #[test]
    fn plain_execs_are_read() {
        let plain = Wanted {
            container: "box".into(),
            command: vec!["ls".into(), "-l".into()],
            env: Vec::new(),
            workdir: String::new(),
            user: String::new(),
            stdin: false,
        };
        assert_eq!(read("exec box ls -l").as_ref(), Some(&plain));
        assert_eq!(read("exec -- box ls -l").as_ref(), Some(&plain));
        let line = "exec -i -e A=1 --env=B=2=3 --env A=4 -e HOME -w /tmp --user=www box -- -t";
        let expected = Wanted {
            command: vec!["--".into(), "-t".into()],
            env: vec!["A=4".into(), "B=2=3".into(), "HOME=/home/me".into()],
            workdir: "/tmp".into(),
            user: "www".into(),
            stdin: true,
            ..plain
        };
        assert_eq!(read(line), Some(expected));
    }

    #[test]
    fn everything_else_is_pythons() {
        for line in [
            "ps",
            "--debug exec box ls",
            "exec",
            "exec box",
            "exec -t box sh",
            "exec -it box sh",
            "exec -d box ls",
            "exec --interactive=true box ls",
            "exec -wtmp box ls",
            "exec --help",
            "exec --privileged box ls",
            "exec --detach-keys=a box ls",
            "exec -e NOT_SET box ls",
            "exec -e =1 box ls",
            "exec -e",
            "exec -- box",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
