//! Names of an archive as paths beneath the layer's directory.

use super::Reason;

/// The kernel takes no longer path (PATH_MAX counts the NUL).
const LONGEST: usize = 4095;

/// Cleans a name: leading, doubled and trailing slashes and dots go, `..` is refused.
pub(crate) fn clean(name: &[u8], path: &mut Vec<u8>) -> Result<(), Reason> {
    path.clear();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Reason::Upwards),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
        if path.len() > LONGEST {
            return Err(Reason::TooLong);
        }
    }
    Ok(())
}

/// What the last part of a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    Itself,
    /// Hides this name of lower layers.
    Whiteout(&'a [u8]),
    /// Hides all that lower layers have in its directory.
    Opaque,
    /// What AUFS kept for itself.
    Aufs,
}

pub(super) fn meaning(name: &[u8]) -> Result<Meaning<'_>, Reason> {
    match name.strip_prefix(b".wh.") {
        None => Ok(Meaning::Itself),
        Some(b".wh..opq") => Ok(Meaning::Opaque),
        Some(rest) if rest.starts_with(b".wh.") => Ok(Meaning::Aufs),
        Some(b"" | b"." | b"..") => Err(Reason::Whiteout),
        Some(rest) => Ok(Meaning::Whiteout(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(name: &[u8]) -> Option<Vec<u8>> {
        let mut path = b"left over".to_vec();
        clean(name, &mut path).ok().map(|()| path)
    }

    #[test]
    fn names_stay_beneath() {
        assert_eq!(
            cleaned(b"/etc//./passwd/").as_deref(),
            Some(&b"etc/passwd"[..])
        );
        assert_eq!(cleaned(b"./").as_deref(), Some(&b""[..]));
        assert_eq!(cleaned(b"..."), Some(b"...".to_vec()));
        for bad in [&b".."[..], b"a/../b", b"../a", b"/..", b"a/.."] {
            assert_eq!(cleaned(bad), None);
        }
        assert_eq!(cleaned(&[b'a'; 5000]), None);
    }

    #[test]
    fn whiteouts_name_something() {
        assert_eq!(meaning(b".wh.x").unwrap(), Meaning::Whiteout(b"x"));
        assert_eq!(meaning(b".wh..wh..opq").unwrap(), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.plnk").unwrap(), Meaning::Aufs);
        assert_eq!(meaning(b".whx").unwrap(), Meaning::Itself);
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(meaning(bad).is_err());
        }
    }
}
