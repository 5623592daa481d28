//! The options of a mount, read once: a table of the runtime specification's words ("Linux mount options").
//!
//! What the table does not know goes to the file system as data, which then takes or refuses it by name.

use sys::{
    MOUNT_ATTR_ATIME as ATIME, MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NODEV as NODEV,
    MOUNT_ATTR_NODIRATIME as NODIRATIME, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_NOSUID as NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW as NOSYMFOLLOW, MOUNT_ATTR_RDONLY as RDONLY,
    MOUNT_ATTR_STRICTATIME as STRICTATIME,
};

const SHARED: u64 = libc::MS_SHARED;
const PRIVATE: u64 = libc::MS_PRIVATE;
const SLAVE: u64 = libc::MS_SLAVE;
const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// What one word does to the mount.
#[derive(Clone, Copy)]
enum Word {
    /// Attributes to set and to clear, on this mount.
    Attr(u64, u64),
    /// The same on every mount below, too.
    AttrAll(u64, u64),
    Propagation(u64, bool),
    Bind(bool),
    IdMap(bool),
    Remount,
    CopyUp,
    /// A flag of the super block, given to the file system under this name; means nothing on a bind.
    Super(&'static str),
    Nothing,
}

/// In the specification's order, so that [`names`] can be shown.
const WORDS: &[(&str, Word)] = &[
    ("async", Word::Super("async")),
    ("atime", Word::Attr(0, ATIME)),
    ("bind", Word::Bind(false)),
    ("defaults", Word::Nothing),
    ("dev", Word::Attr(0, NODEV)),
    ("diratime", Word::Attr(0, NODIRATIME)),
    ("dirsync", Word::Super("dirsync")),
    ("exec", Word::Attr(0, NOEXEC)),
    ("idmap", Word::IdMap(false)),
    ("lazytime", Word::Super("lazytime")),
    ("loud", Word::Nothing),
    ("mand", Word::Super("mand")),
    ("noatime", Word::Attr(NOATIME, ATIME)),
    ("nodev", Word::Attr(NODEV, 0)),
    ("nodiratime", Word::Attr(NODIRATIME, 0)),
    ("noexec", Word::Attr(NOEXEC, 0)),
    ("nolazytime", Word::Super("nolazytime")),
    ("nomand", Word::Super("nomand")),
    ("norelatime", Word::Attr(0, ATIME)),
    ("nostrictatime", Word::Attr(0, ATIME)),
    ("nosuid", Word::Attr(NOSUID, 0)),
    ("nosymfollow", Word::Attr(NOSYMFOLLOW, 0)),
    ("private", Word::Propagation(PRIVATE, false)),
    ("ratime", Word::AttrAll(0, ATIME)),
    ("rbind", Word::Bind(true)),
    ("rdev", Word::AttrAll(0, NODEV)),
    ("rdiratime", Word::AttrAll(0, NODIRATIME)),
    ("relatime", Word::Attr(0, ATIME)),
    ("remount", Word::Remount),
    ("rexec", Word::AttrAll(0, NOEXEC)),
    ("ridmap", Word::IdMap(true)),
    ("rnoatime", Word::AttrAll(NOATIME, ATIME)),
    ("rnodev", Word::AttrAll(NODEV, 0)),
    ("rnodiratime", Word::AttrAll(NODIRATIME, 0)),
    ("rnoexec", Word::AttrAll(NOEXEC, 0)),
    ("rnorelatime", Word::AttrAll(0, ATIME)),
    ("rnostrictatime", Word::AttrAll(0, ATIME)),
    ("rnosuid", Word::AttrAll(NOSUID, 0)),
    ("rnosymfollow", Word::AttrAll(NOSYMFOLLOW, 0)),
    ("ro", Word::Attr(RDONLY, 0)),
    ("rprivate", Word::Propagation(PRIVATE, true)),
    ("rrelatime", Word::AttrAll(0, ATIME)),
    ("rro", Word::AttrAll(RDONLY, 0)),
    ("rrw", Word::AttrAll(0, RDONLY)),
    ("rshared", Word::Propagation(SHARED, true)),
    ("rslave", Word::Propagation(SLAVE, true)),
    ("rstrictatime", Word::AttrAll(STRICTATIME, ATIME)),
    ("rsuid", Word::AttrAll(0, NOSUID)),
    ("rsymfollow", Word::AttrAll(0, NOSYMFOLLOW)),
    ("runbindable", Word::Propagation(UNBINDABLE, true)),
    ("rw", Word::Attr(0, RDONLY)),
    ("shared", Word::Propagation(SHARED, false)),
    ("silent", Word::Nothing),
    ("slave", Word::Propagation(SLAVE, false)),
    ("strictatime", Word::Attr(STRICTATIME, ATIME)),
    ("suid", Word::Attr(0, NOSUID)),
    ("symfollow", Word::Attr(0, NOSYMFOLLOW)),
    ("sync", Word::Super("sync")),
    ("tmpcopyup", Word::CopyUp),
    ("unbindable", Word::Propagation(UNBINDABLE, false)),
];

/// Every word that is understood, for `features`.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(name, _)| *name)
}

/// Attributes to set and to clear; a later word undoes an earlier one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub set: u64,
    pub clear: u64,
}

impl Attributes {
    fn add(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
    }

    pub fn is_empty(self) -> bool {
        self == Attributes::default()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// Of this mount alone.
    pub own: Attributes,
    /// Of this mount and all below.
    pub all: Attributes,
    /// Propagation and whether for all below, in order.
    pub propagation: Vec<(u64, bool)>,
    /// A bind, and whether it takes the mounts below the source along.
    pub bind: Option<bool>,
    /// Id-mapped, and whether also all below.
    pub idmap: Option<bool>,
    pub remount: bool,
    pub copy_up: bool,
    /// Flags of the super block by their names.
    pub super_flags: Vec<&'static str>,
    /// The file system's own, `key` or `key=value`.
    pub data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    pub fn parse<S: AsRef<str>>(words: &[S]) -> MountOptions {
        let mut options = MountOptions::default();
        words.iter().for_each(|word| options.take(word.as_ref()));
        options
    }

    fn take(&mut self, word: &str) {
        let Ok(place) = WORDS.binary_search_by_key(&word, |(name, _)| name) else {
            if !word.is_empty() {
                let (key, value) = word
                    .split_once('=')
                    .map_or((word, None), |(key, value)| (key, Some(value.to_owned())));
                self.data.push((key.to_owned(), value));
            }
            return;
        };
        match WORDS[place].1 {
            Word::Attr(set, clear) => self.own.add(set, clear),
            Word::AttrAll(set, clear) => self.all.add(set, clear),
            Word::Propagation(kind, recursive) => self.propagation.push((kind, recursive)),
            Word::Bind(recursive) => self.bind = Some(recursive),
            Word::IdMap(recursive) => self.idmap = Some(recursive),
            Word::Remount => self.remount = true,
            Word::CopyUp => self.copy_up = true,
            Word::Super(flag) => self.super_flags.push(flag),
            Word::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(WORDS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn later_words_win() {
        assert_eq!(
            MountOptions::parse(&["ro", "rw"]).own,
            Attributes {
                set: 0,
                clear: RDONLY
            }
        );
        assert_eq!(
            MountOptions::parse(&["noatime", "strictatime"]).own,
            Attributes {
                set: STRICTATIME,
                clear: ATIME
            }
        );
        assert_eq!(
            MountOptions::parse(&["nosuid", "rro"]).all,
            Attributes {
                set: RDONLY,
                clear: 0
            }
        );
    }

    #[test]
    fn unknown_words_are_data() {
        let options = MountOptions::parse(&["size=64k", "newinstance", "", "rbind"]);
        assert_eq!(
            options.data,
            [
                ("size".into(), Some("64k".into())),
                ("newinstance".into(), None)
            ]
        );
        assert_eq!(options.bind, Some(true));
    }
}
