//! Who may know which names: decided without a socket.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::packet::{A, AAAA, PTR, Query, Record, reversed};
use super::record::{Endpoint, Network, Server};

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The records of a name of ours; it may have none of the kind that is asked for.
    Known(Vec<Record>),
    /// These servers are asked, in this order.
    Forward(Vec<SocketAddr>),
    /// Nobody can be asked.
    Fail,
    /// The asker is none of our containers.
    Refuse,
}

/// All networks and containers, found by name and by address.
#[derive(Debug, Default)]
pub struct Names {
    networks: HashMap<String, Network>,
    endpoints: HashMap<String, Endpoint>,
    here: HashMap<String, Here>,
    upstreams: Vec<SocketAddr>,
    turn: usize,
}

/// Who is on a network.
#[derive(Debug, Default)]
struct Here {
    by_name: HashMap<String, Vec<String>>,
    by_address: HashMap<IpAddr, String>,
}

impl Names {
    pub fn set_upstreams(&mut self, servers: &[Server]) {
        self.upstreams = servers.iter().map(|server| server.0).collect();
    }

    pub fn set_network(&mut self, id: &str, network: Option<Network>) {
        match network {
            Some(network) => drop(self.networks.insert(id.to_owned(), network)),
            None => drop(self.networks.remove(id)),
        }
    }

    pub fn networks(&self) -> impl Iterator<Item = &String> {
        self.networks.keys()
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &String> {
        self.endpoints.keys()
    }

    pub fn set_endpoint(&mut self, id: &str, endpoint: Option<Endpoint>) {
        if let Some(old) = self.endpoints.remove(id) {
            self.forget(id, &old);
        }
        let Some(mut endpoint) = endpoint else { return };
        for end in &mut endpoint.ends {
            for name in &mut end.names {
                name.make_ascii_lowercase();
            }
            let here = self.here.entry(end.network.clone()).or_default();
            for name in end.names.iter().collect::<HashSet<_>>() {
                let known = here.by_name.entry(name.clone()).or_default();
                known.push(id.to_owned());
            }
            for &address in &end.addresses {
                here.by_address.insert(address, id.to_owned());
            }
        }
        endpoint.links = (endpoint.links.into_iter())
            .map(|(alias, name)| (alias.to_ascii_lowercase(), name.to_ascii_lowercase()))
            .collect();
        self.endpoints.insert(id.to_owned(), endpoint);
    }

    fn forget(&mut self, id: &str, old: &Endpoint) {
        for end in &old.ends {
            let Some(here) = self.here.get_mut(&end.network) else {
                continue;
            };
            for name in &end.names {
                if let Some(known) = here.by_name.get_mut(name) {
                    known.retain(|one| one != id);
                    if known.is_empty() {
                        here.by_name.remove(name);
                    }
                }
            }
            // Another container may have the address by now.
            here.by_address.retain(|_, owner| owner != id);
            if here.by_name.is_empty() && here.by_address.is_empty() {
                self.here.remove(&end.network);
            }
        }
    }

    /// Decides on a question that came from `source` on a network.
    pub fn decide(&mut self, network: &str, source: IpAddr, query: &Query<'_>) -> Decision {
        let here = self.here.get(network);
        let asker = here
            .and_then(|here| here.by_address.get(&source))
            .and_then(|id| self.endpoints.get(id));
        let Some(asker) = asker else {
            return Decision::Refuse;
        };
        if let Some(name) = query.name.as_deref().filter(|_| query.internet) {
            let found = if query.kind == PTR
                && let Some(address) = reversed(name)
            {
                self.name_of(asker, address)
                    .map(|name| vec![Record::Name(name)])
            } else {
                self.addresses(asker, name)
                    .map(|all| chosen(&all, query.kind))
            };
            if let Some(mut records) = found {
                if !records.is_empty() {
                    let turn = self.turn % records.len();
                    records.rotate_left(turn);
                    self.turn = self.turn.wrapping_add(1);
                }
                return Decision::Known(records);
            }
        }
        self.forward(asker)
    }

    fn forward(&self, asker: &Endpoint) -> Decision {
        let outward = asker.ends.iter().any(|end| {
            let network = self.networks.get(&end.network);
            network.is_some_and(|network| !network.internal)
        });
        let servers: Vec<SocketAddr> = if asker.dns.is_empty() {
            self.upstreams.clone()
        } else {
            asker.dns.iter().map(|server| server.0).collect()
        };
        if outward && !servers.is_empty() {
            Decision::Forward(servers)
        } else {
            Decision::Fail
        }
    }

    /// All addresses of a name, as the asker knows it; None: it knows no such name.
    fn addresses(&self, asker: &Endpoint, name: &str) -> Option<Vec<IpAddr>> {
        let link = asker.links.get(name);
        let mut found = None;
        for end in &asker.ends {
            let (Some(network), Some(here)) =
                (self.networks.get(&end.network), self.here.get(&end.network))
            else {
                continue;
            };
            let mut known = Vec::new();
            if let Some(linked) = link {
                known.extend(here.by_name.get(linked));
            }
            if network.names {
                known.extend(here.by_name.get(name));
                let short = name.strip_suffix(&network.name.to_ascii_lowercase());
                let short = short.and_then(|short| short.strip_suffix('.'));
                known.extend(short.and_then(|short| here.by_name.get(short)));
            }
            for id in known.into_iter().flatten() {
                let all: &mut Vec<IpAddr> = found.get_or_insert_default();
                all.extend(self.addresses_on(id, &end.network));
            }
        }
        if let Some(all) = &mut found {
            let mut seen = HashSet::new();
            all.retain(|address| seen.insert(*address));
        }
        found
    }

    fn addresses_on<'a>(&'a self, id: &str, network: &'a str) -> impl Iterator<Item = &'a IpAddr> {
        let ends = self.endpoints.get(id).into_iter().flat_map(|one| &one.ends);
        ends.filter(move |end| end.network == network)
            .flat_map(|end| &end.addresses)
    }

    /// The name behind an address, if the asker may know it.
    fn name_of(&self, asker: &Endpoint, address: IpAddr) -> Option<String> {
        asker.ends.iter().find_map(|end| {
            let network = self.networks.get(&end.network).filter(|one| one.names)?;
            let id = self.here.get(&end.network)?.by_address.get(&address)?;
            let mut ends = self.endpoints.get(id)?.ends.iter();
            let there = ends.find(|one| one.network == end.network)?;
            let name = there.names.first()?;
            Some(if network.name.is_empty() {
                name.clone()
            } else {
                format!("{name}.{}", network.name)
            })
        })
    }
}

/// The addresses of a kind.
fn chosen(all: &[IpAddr], kind: u16) -> Vec<Record> {
    let wanted = |address: &&IpAddr| match kind {
        A => address.is_ipv4(),
        AAAA => address.is_ipv6(),
        _ => false,
    };
    all.iter()
        .filter(wanted)
        .map(|&address| Record::Address(address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::packet::{self, tests::query};
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        let network = |text: &str| Some(serde_json::from_str(text).unwrap());
        names.set_network("n1", network(r#"{"id":"n1","name":"Back","names":true}"#));
        names.set_network("n2", network(r#"{"id":"n2","names":true,"internal":true}"#));
        names.set_network("n0", network(r#"{"id":"n0","names":false}"#));
        for (id, text) in [
            (
                "web",
                r#"{"ends":[{"network":"n1","addresses":["10.1.0.2","fd01::2"],"names":["Web","all"]}]}"#,
            ),
            (
                "db",
                r#"{"ends":[{"network":"n1","addresses":["10.1.0.3"],"names":["db","all","all"]},
                               {"network":"n2","addresses":["10.2.0.3"],"names":["db"]}]}"#,
            ),
            (
                "in",
                r#"{"ends":[{"network":"n2","addresses":["10.2.0.4"],"names":["in"]}]}"#,
            ),
            (
                "own",
                r#"{"dns":["9.9.9.9"],"ends":[{"network":"n0","addresses":["10.0.0.5"],"names":["own"]}]}"#,
            ),
            (
                "old",
                r#"{"ends":[{"network":"n0","addresses":["10.0.0.6"],"names":["old"]}],"links":{"Other":"own"}}"#,
            ),
        ] {
            names.set_endpoint(id, Some(serde_json::from_str(text).unwrap()));
        }
        names.set_upstreams(&[Server("1.1.1.1:53".parse().unwrap())]);
        names
    }

    fn ask(names: &mut Names, from: (&str, &str), name: &str, kind: u16) -> Decision {
        let bytes = query(name, kind);
        let parsed = packet::parse(&bytes).unwrap();
        names.decide(from.0, from.1.parse().unwrap(), &parsed)
    }

    fn known(addresses: &[&str]) -> Decision {
        let record = |address: &&str| Record::Address(address.parse().unwrap());
        Decision::Known(addresses.iter().map(record).collect())
    }

    #[test]
    fn containers_of_a_network_know_each_other() {
        let names = &mut names();
        let web = ("n1", "10.1.0.2");
        assert_eq!(ask(names, web, "DB", A), known(&["10.1.0.3"]));
        assert_eq!(ask(names, web, "db.back", A), known(&["10.1.0.3"]));
        assert_eq!(ask(names, web, "web", AAAA), known(&["fd01::2"]));
        // It is there, but has no address of that kind: nobody else is asked.
        assert_eq!(ask(names, web, "db", AAAA), known(&[]));
        assert_eq!(ask(names, web, "db", 15), known(&[]));
    }

    #[test]
    fn one_on_two_networks_knows_both() {
        let names = &mut names();
        for from in [("n1", "10.1.0.3"), ("n2", "10.2.0.3")] {
            assert_eq!(ask(names, from, "web", A), known(&["10.1.0.2"]));
            assert_eq!(ask(names, from, "in", A), known(&["10.2.0.4"]));
        }
        // The other two do not.
        let web = ask(names, ("n1", "10.1.0.2"), "in", A);
        assert!(matches!(web, Decision::Forward(_)));
        assert_eq!(ask(names, ("n2", "10.2.0.4"), "web", A), Decision::Fail);
    }

    #[test]
    fn a_name_of_several_takes_turns() {
        let names = &mut names();
        let first: HashSet<String> = (0..4)
            .map(|_| format!("{:?}", ask(names, ("n1", "10.1.0.2"), "all", A)))
            .collect();
        assert_eq!(first.len(), 2, "{first:?}");
    }

    #[test]
    fn strangers_are_refused_also_on_a_network_that_is_not_theirs() {
        let names = &mut names();
        for from in [("n1", "10.9.9.9"), ("n1", "10.2.0.4"), ("n9", "10.1.0.2")] {
            assert_eq!(ask(names, from, "web", A), Decision::Refuse);
        }
    }

    #[test]
    fn what_is_not_ours_is_forwarded_but_from_inside() {
        let names = &mut names();
        let upstream = |text: &str| Decision::Forward(vec![text.parse().unwrap()]);
        assert_eq!(
            ask(names, ("n1", "10.1.0.2"), "example.org", A),
            upstream("1.1.1.1:53")
        );
        assert_eq!(
            ask(names, ("n0", "10.0.0.5"), "example.org", A),
            upstream("9.9.9.9:53")
        );
        assert_eq!(
            ask(names, ("n2", "10.2.0.4"), "example.org", A),
            Decision::Fail
        );
        names.set_upstreams(&[]);
        assert_eq!(ask(names, ("n1", "10.1.0.2"), "x", A), Decision::Fail);
    }

    #[test]
    fn without_names_only_links_are_known() {
        let names = &mut names();
        let old = ("n0", "10.0.0.6");
        assert_eq!(ask(names, old, "other", A), known(&["10.0.0.5"]));
        assert!(matches!(ask(names, old, "own", A), Decision::Forward(_)));
    }

    #[test]
    fn names_of_addresses() {
        let names = &mut names();
        let name = |text: &str| Decision::Known(vec![Record::Name(text.to_owned())]);
        let web = ("n1", "10.1.0.2");
        assert_eq!(
            ask(names, web, "3.0.1.10.in-addr.arpa", PTR),
            name("db.Back")
        );
        let other = ask(names, web, "4.0.2.10.in-addr.arpa", PTR);
        assert!(matches!(other, Decision::Forward(_)));
    }

    #[test]
    fn what_went_is_forgotten() {
        let names = &mut names();
        names.set_endpoint("web", None);
        assert_eq!(ask(names, ("n1", "10.1.0.2"), "db", A), Decision::Refuse);
        assert_eq!(
            ask(names, ("n1", "10.1.0.3"), "all", A),
            known(&["10.1.0.3"])
        );
        for id in ["db", "in", "own", "old"] {
            names.set_endpoint(id, None);
        }
        assert!(names.here.is_empty() && names.endpoints.is_empty());
    }
}
