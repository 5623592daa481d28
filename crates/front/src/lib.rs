//! The command `stockade`: a plain `exec` is done here, everything else is the Python command line's, `stockade-cli`.
//!
//! Python needs 45 ms to start and to import; what an exec costs beyond is 7. Law: only what succeeds, or ends with the
//! program's status, is served here. Whatever is unusual — a terminal, an option not named in `words`, a daemon that does not
//! answer, a refusal of any kind — is left to Python before the program was let run, which asks anew and finds the words.
//! Nothing is decided here, so that there is one command line and not two.
//!
//! ```text
//! words    a command line as an exec, or as Python's
//! http     one kept connection to the daemon
//! exec     create, prepare, attach, start; then signals until the end
//! ```

mod exec;
mod http;
mod words;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const PYTHON: &str = "stockade-cli";
/// Stockade failed, as Docker's clients say it.
const OWN_FAILURE: u8 = 125;

/// Why an exec that may have begun to run has no status.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the daemon hung up while the program was let run")]
    Start(#[source] std::io::Error),
    #[error("wait for the end of the program")]
    Wait(#[source] std::io::Error),
}

/// The program.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let wanted = words::parse(&words, |name| std::env::var(name).ok());
    match wanted.and_then(|wanted| exec::prepare(&wanted)) {
        None => python(&words),
        Some(ready) => match ready.run() {
            Ok(Some(status)) => ExitCode::from(status),
            Ok(None) => python(&words),
            Err(error) => fail(&error),
        },
    }
}

/// Becomes the Python command line, which lies beside this program.
fn python(words: &[OsString]) -> ExitCode {
    let own = std::env::current_exe().unwrap_or_default();
    let path = own.with_file_name(PYTHON);
    let error = Command::new(&path).args(words).exec();
    eprintln!(
        "stockade: {} cannot be run: {error}\n\nhint: install Stockade again",
        path.display()
    );
    ExitCode::from(OWN_FAILURE)
}

fn fail(error: &Error) -> ExitCode {
    let cause =
        std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    eprintln!("stockade: {error}{cause}");
    ExitCode::from(OWN_FAILURE)
}
