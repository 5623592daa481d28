//! Names that deserve a look of their own: what git keeps or obeys, and what some program runs or reads by itself.
//!
//! The list holds what is started without being asked for by name: by a shell, an editor, a debugger, an interpreter,
//! a package manager, a login, a push. A Makefile is not on it: nothing runs it but a person who says so.

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Normal,
    Git,
    Startup,
}

const GIT: &[&str] = &[
    ".git",
    ".gitattributes",
    ".gitconfig",
    ".githooks",
    ".gitmodules",
    ".husky",
];

/// Names that count wherever they stand; of a directory all that lies in it.
const STARTUP: &[&str] = &[
    // Shells and logins.
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".cshrc",
    ".direnv",
    ".env",
    ".envrc",
    ".inputrc",
    ".kshrc",
    ".login",
    ".logout",
    ".pam_environment",
    ".profile",
    ".screenrc",
    ".ssh",
    ".gnupg",
    ".tcshrc",
    ".tmux.conf",
    ".xinitrc",
    ".xprofile",
    ".xsession",
    ".xsessionrc",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    // Editors, debuggers and assistants.
    ".claude",
    ".cursor",
    ".devcontainer",
    ".dir-locals.el",
    ".emacs",
    ".emacs.d",
    ".exrc",
    ".fleet",
    ".gdbinit",
    ".idea",
    ".lldbinit",
    ".lvimrc",
    ".mcp.json",
    ".nvim.lua",
    ".nvimrc",
    ".vim",
    ".vimrc",
    ".vscode",
    ".zed",
    // Interpreters, their packages and their builds.
    ".cargo",
    ".irbrc",
    ".mise.toml",
    ".npmrc",
    ".pdbrc",
    ".pnp.cjs",
    ".pnpmfile.cjs",
    ".pryrc",
    ".psqlrc",
    ".pypirc",
    ".pythonrc",
    ".renviron",
    ".rprofile",
    ".sqliterc",
    ".yarnrc",
    ".yarnrc.yml",
    "conftest.py",
    "mise.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    "sitecustomize.py",
    "usercustomize.py",
    // Run elsewhere by a push, or before a commit.
    ".circleci",
    ".gitlab-ci.yml",
    ".pre-commit-config.yaml",
    // Read by programs that fetch.
    ".curlrc",
    ".mailcap",
    ".netrc",
    ".wgetrc",
];

/// Directories of which these paths start by themselves.
const STARTUP_BELOW: &[&[&str]] = &[
    &[".config", "autostart"],
    &[".config", "environment.d"],
    &[".config", "fish"],
    &[".config", "nvim"],
    &[".config", "systemd"],
    &[".github", "workflows"],
    &[".local", "bin"],
    &[".local", "share", "systemd"],
];

/// The class of a path by its names alone; case is ignored, as some file systems do.
pub(super) fn of(path: &[u8]) -> Class {
    let lower = path.to_ascii_lowercase();
    let names: Vec<&[u8]> = lower.split(|byte| *byte == b'/').collect();
    if names
        .iter()
        .any(|name| GIT.iter().any(|known| known.as_bytes() == *name))
    {
        return Class::Git;
    }
    let starts = |name: &&[u8]| {
        STARTUP.iter().any(|known| known.as_bytes() == *name) || name.ends_with(b".pth")
    };
    let below = |known: &&[&str]| {
        names.windows(known.len()).any(|window| {
            window
                .iter()
                .zip(*known)
                .all(|(name, known)| *name == known.as_bytes())
        })
    };
    if names.iter().any(starts) || STARTUP_BELOW.iter().any(below) {
        return Class::Startup;
    }
    Class::Normal
}

/// Whether these names beside each other are a repository without a directory `.git`: git obeys its configuration too.
pub(super) fn is_bare_repository(has: impl Fn(&[u8]) -> bool, name: &[u8]) -> bool {
    matches!(name, b"HEAD" | b"config" | b"hooks" | b"objects" | b"refs")
        && has(b"objects")
        && has(b"refs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_wherever_they_stand() {
        for (path, class) in [
            (&b"src/main.rs"[..], Class::Normal),
            (b"Makefile", Class::Normal),
            (b"sub/.git/hooks/pre-commit", Class::Git),
            (b".GIT/config", Class::Git),
            (b".gitignore", Class::Normal),
            (b"a/.envrc", Class::Startup),
            (b".vscode/tasks.json", Class::Startup),
            (b".github/CODEOWNERS", Class::Normal),
            (b".github/workflows/x.yml", Class::Startup),
            (b"lib/evil.pth", Class::Startup),
            (b".github", Class::Normal),
        ] {
            assert_eq!(of(path), class, "{}", String::from_utf8_lossy(path));
        }
    }
}
