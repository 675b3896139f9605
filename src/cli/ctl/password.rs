//! Passwords that are not on the command line, where others could see them.

use std::io::{self, BufRead as _, IsTerminal as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::{Failure, SOFTWARE};
use super::line::Line;

/// The one on the command line, else a line from the standard input.
pub(super) fn of(line: &Line, argument: &str) -> Result<String, Failure> {
    if let Some(given) = line.get(argument) {
        return Ok(given.to_owned());
    }
    super::print("Password: ");
    let hidden = Hidden::new();
    let mut password = String::new();
    let read = io::stdin().lock().read_line(&mut password);
    drop(hidden);
    super::print("\n");
    let missing = || Failure::error(SOFTWARE, "Password is not provided via argument or stdin");
    match read {
        Ok(bytes) if bytes > 0 => Ok(password.trim_end_matches(['\n', '\r']).to_owned()),
        _ => Err(missing()),
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Option<Termios>);

impl Hidden {
    fn new() -> Self {
        let stdin = io::stdin();
        let before = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &silent);
        }
        Self(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
