//! Shifting owners: ids as a container knows them, and as this host stores them.

/// One run of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub container: u32,
    pub host: u32,
    pub count: u32,
}

/// A map of ids; the empty one changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    runs: Vec<Run>,
}

impl Map {
    /// Reads `C:H:N[,C:H:N...]`; None when it is none, or a run leaves the range of ids.
    pub fn parse(text: &str) -> Option<Map> {
        let mut runs = Vec::new();
        for part in text.split(',') {
            let numbers: Vec<u32> = part
                .split(':')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .ok()?;
            let &[container, host, count] = numbers.as_slice() else {
                return None;
            };
            container.checked_add(count)?;
            host.checked_add(count)?;
            runs.push(Run {
                container,
                host,
                count,
            });
        }
        Some(Map { runs })
    }

    /// As /proc/PID/uid_map has it.
    pub fn text(&self) -> String {
        if self.runs.is_empty() {
            return "0 0 4294967295".to_owned();
        }
        let line = |run: &Run| format!("{} {} {}\n", run.container, run.host, run.count);
        self.runs.iter().map(line).collect()
    }

    pub fn to_host(&self, id: u32) -> Option<u32> {
        self.shift(id, |run| (run.container, run.host))
    }

    pub fn to_container(&self, id: u32) -> Option<u32> {
        self.shift(id, |run| (run.host, run.container))
    }

    fn shift(&self, id: u32, sides: impl Fn(&Run) -> (u32, u32)) -> Option<u32> {
        if self.runs.is_empty() {
            return Some(id);
        }
        self.runs.iter().find_map(|run| {
            let (from, to) = sides(run);
            (id >= from && id - from < run.count).then(|| to + (id - from))
        })
    }
}

/// The attribute that gives a program capabilities (capabilities(7)).
pub const CAPABILITY: &[u8] = b"security.capability";

const VERSION_2: [u8; 4] = 0x0200_0000u32.to_le_bytes();
const VERSION_3: [u8; 4] = 0x0300_0000u32.to_le_bytes();
const EFFECTIVE: u8 = 1;

/// Binds capabilities that hold everywhere to the user namespace whose root is `root` on this host.
pub fn capability_to_host(value: &[u8], root: u32) -> Vec<u8> {
    if root == 0 || value.len() != 20 || value[1..4] != VERSION_2[1..] {
        return value.to_vec();
    }
    let mut bound = value.to_vec();
    bound[..4].copy_from_slice(&VERSION_3);
    bound[0] |= value[0] & EFFECTIVE;
    bound.extend_from_slice(&root.to_le_bytes());
    bound
}

/// The way back: what the container's root sees.
pub fn capability_to_container(value: &[u8], root: u32) -> Vec<u8> {
    if value.len() != 24 || value[1..4] != VERSION_3[1..] || value[20..] != root.to_le_bytes() {
        return value.to_vec();
    }
    let mut free = value[..20].to_vec();
    free[..4].copy_from_slice(&VERSION_2);
    free[0] |= value[0] & EFFECTIVE;
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside_the_map_have_no_owner() {
        let map = Map::parse("0:100000:10,1000:5:1").unwrap();
        assert_eq!(
            (map.to_host(9), map.to_host(10), map.to_host(1000)),
            (Some(100_009), None, Some(5))
        );
        assert_eq!(
            (map.to_container(100_009), map.to_container(0)),
            (Some(9), None)
        );
        assert_eq!(Map::default().to_host(7), Some(7));
        for bad in [
            "",
            "1",
            "1:2",
            "1:2:3:4",
            "a:b:c",
            "0:4294967295:2",
            "-1:0:1",
        ] {
            assert_eq!(Map::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn capabilities_go_there_and_back() {
        let mut value = vec![0; 20];
        value[..4].copy_from_slice(&VERSION_2);
        value[0] |= EFFECTIVE;
        value[5] = 0x20;
        let bound = capability_to_host(&value, 100_000);
        assert_eq!(bound.len(), 24);
        assert_eq!(capability_to_container(&bound, 100_000), value);
        assert_eq!(capability_to_container(&bound, 5), bound);
        assert_eq!(capability_to_host(&value, 0), value);
    }
}
