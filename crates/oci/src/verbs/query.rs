//! `state` and `list`: what is known, without touching anything.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use spec::Status;

use super::{PLAIN, id};
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb, print};
use crate::error::{Error, word};
use crate::store::Container;

pub const STATE: Verb = Verb {
    name: "state",
    about: "print a container's state as JSON",
    run: state,
    ..PLAIN
};

pub const LIST: Verb = Verb {
    name: "list",
    operands: "",
    about: "list the containers of this root",
    flags: &[
        Flag::value("format", "table|json", "how").short('f'),
        Flag::switch("quiet", "ids only").short('q'),
    ],
    count: (0, 0),
    run: list,
    ..PLAIN
};

/// runc's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: String,
}

impl View<'_> {
    fn of(container: &Container, owner: String) -> View<'_> {
        let (record, status) = (&container.record, container.status());
        View {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if status == Status::Stopped {
                0
            } else {
                record.init.map_or(0, |init| init.pid)
            },
            status,
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner,
        }
    }
}

fn state(context: &Context, args: &Args) -> Result<u8, Error> {
    let container = context.store()?.find(&id(args))?;
    let text = serde_json::to_string_pretty(&View::of(&container, String::new()));
    print(&(text.map_err(|source| Error::System("print the state", source.into()))? + "\n"))
}

fn list(context: &Context, args: &Args) -> Result<u8, Error> {
    let containers = context.store()?.list()?;
    if args.has("quiet") {
        return print(
            &containers
                .iter()
                .map(|container| format!("{}\n", container.record.id))
                .collect::<String>(),
        );
    }
    let views: Vec<View<'_>> = containers
        .iter()
        .map(|container| View::of(container, owner(container.record.owner)))
        .collect();
    match args.text("format")?.unwrap_or("table") {
        "json" => {
            let text = serde_json::to_string(&views)
                .map_err(|source| Error::System("print the list", source.into()))?;
            print(&(text + "\n"))
        }
        "table" => print(&table(&views)),
        _ => Err(Error::Refused("invalid format option")),
    }
}

fn table(views: &[View<'_>]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let rows = views.iter().map(|view| {
        [
            view.id.into(),
            view.pid.to_string(),
            word(view.status).into(),
            view.bundle.display().to_string(),
            view.created.into(),
            view.owner.clone(),
        ]
    });
    columns(std::iter::once(head).chain(rows).collect())
}

/// Columns of at least 12, with 3 between; the last one ends the line.
fn columns(rows: Vec<[String; 6]>) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count() + 3)
            .max()
            .unwrap_or(0)
            .max(12)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells: String = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The user's name, or his number where he has none.
fn owner(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| format!("#{uid}"))
}

/// From /etc/passwd (passwd(5)): the program is static and asks no name service.
pub fn user_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
