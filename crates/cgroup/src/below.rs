//! `exec --cgroup`: a directory that somebody made below the container's own, never one outside.

use std::path::{Component, Path, PathBuf};

use crate::{Cgroup, Dir, Error, Layout};

impl Cgroup {
    /// The container's cgroup but for the hierarchies that `words` name: `[CONTROLLER[,CONTROLLER…]:]PATH`, as runc's
    /// `exec --cgroup`. A path without controllers is for all hierarchies; v2 has no controllers to name. It must exist.
    pub fn below(&self, words: &[String]) -> Result<Cgroup, Error> {
        let mut below = self.clone();
        let mut seen: Vec<&str> = Vec::new();
        for word in words {
            let refuse = |why| Err(Error::Below(word.clone(), why));
            let Some((controllers, path)) = word.split_once(':') else {
                if words.len() > 1 {
                    return refuse("<controller>: is missing");
                }
                return self.all_below(word);
            };
            if self.layout == Layout::V2 {
                return refuse("cgroup v2 has no hierarchies by controller");
            }
            for controller in controllers.split(',') {
                if seen.contains(&controller) {
                    return refuse("a controller is named twice");
                }
                seen.push(controller);
                let own = below
                    .v1
                    .iter_mut()
                    .zip(&self.v1)
                    .find(|(_, own)| own.controllers.iter().any(|name| is(name, controller)));
                match own {
                    Some((dir, own)) => dir.path = inside(own, word, path)?,
                    None => return refuse("the container has no cgroup of this controller"),
                }
            }
        }
        Ok(below)
    }

    fn all_below(&self, path: &str) -> Result<Cgroup, Error> {
        let mut below = self.clone();
        let v2 = below.v2.iter_mut().filter(|_| self.layout == Layout::V2);
        for dir in below
            .v1
            .iter_mut()
            .chain(v2)
            .filter(|dir| !dir.on_demand || dir.exists())
        {
            dir.path = inside(dir, path, path)?;
        }
        Ok(below)
    }
}

/// A named hierarchy is called without the `name=` of its mount option.
fn is(known: &str, controller: &str) -> bool {
    known == controller || known.strip_prefix("name=") == Some(controller)
}

/// `path` below a directory of the container, both without dots.
fn inside(own: &Dir, word: &str, path: &str) -> Result<PathBuf, Error> {
    let refuse = |why| Err(Error::Below(word.to_owned(), why));
    let mut steps = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => steps.push(name),
            Component::ParentDir if steps.pop().is_none() => {
                return refuse("leaves the container's cgroup");
            }
            _ => {}
        }
    }
    let below = own.path.join(steps.iter().collect::<PathBuf>());
    if !own.mount.join(&below).is_dir() {
        return refuse("is not there below the container's cgroup");
    }
    Ok(below)
}
