//! The documents against the specification's own list of properties (`properties.txt`, drawn from its JSON schema): each is a
//! field, so that no value is lost unread, and those that nobody serves are refused by name.

use serde_json::{Map, Value, json};
use spec::Spec;

const PROPERTIES: &str = include_str!("properties.txt");
const REFUSED: &str = include_str!("refused.txt");

/// Every property and a value that it may have.
fn properties() -> Vec<(&'static str, Value)> {
    PROPERTIES
        .lines()
        .map(|line| {
            let (path, value) = line.split_once(' ').expect("a path and a value");
            (path, serde_json::from_str(value).expect("a value"))
        })
        .collect()
}

/// The names that `spec::unserved` refuses.
fn refused() -> Vec<&'static str> {
    REFUSED
        .lines()
        .filter_map(|line| line.strip_suffix(" spec"))
        .collect()
}

fn is_below(path: &str, name: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `a.b[].c` as the steps a, b, `[]`, c.
fn steps(path: &str) -> Vec<&str> {
    path.split('.')
        .flat_map(|step| {
            let plain = step.trim_end_matches("[]");
            std::iter::once(plain).chain((plain.len() < step.len()).then_some("[]"))
        })
        .collect()
}

fn set(document: &mut Value, path: &str, value: Value) {
    let place = steps(path)
        .into_iter()
        .fold(document, |place, step| match step {
            "[]" => {
                if !place.is_array() {
                    *place = json!([null]);
                }
                &mut place[0]
            }
            name => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                &mut place[name]
            }
        });
    *place = value;
}

fn get<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)
        .into_iter()
        .try_fold(document, |place, step| match step {
            "[]" => place.get(0),
            name => place.get(name),
        })
}

/// A document of those properties alone.
fn document(keep: impl Fn(&str) -> bool) -> Value {
    let mut document = json!({});
    for (path, value) in properties() {
        if keep(path) {
            set(&mut document, path, value);
        }
    }
    document
}

fn read(document: Value) -> Spec {
    serde_json::from_value(document).expect("a configuration")
}

#[test]
fn every_property_is_a_field() {
    let kept = serde_json::to_value(read(document(|_| true))).expect("a document");
    let lost: Vec<_> = properties()
        .into_iter()
        .filter(|(path, value)| get(&kept, path) != Some(value))
        .collect();
    assert!(lost.is_empty(), "read as nothing: {lost:?}");
}

#[test]
fn what_is_served_is_not_refused() {
    let refused = refused();
    let served = document(|path| !refused.iter().any(|name| is_below(path, name)));
    assert_eq!(spec::unserved(&read(served)), None);
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    for name in refused() {
        let own: Vec<_> = properties()
            .into_iter()
            .filter(|(path, _)| is_below(path, name))
            .collect();
        assert!(!own.is_empty(), "the specification has no {name}");
        for (path, _) in own {
            let alone = read(document(|other| other == path));
            assert_eq!(spec::unserved(&alone), Some(name), "{path}");
        }
    }
}
