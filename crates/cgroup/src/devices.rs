//! Device rules: their meaning, and how both layouts hold it.
//!
//! Rules apply in order, the last that matches decides (config-linux.md, "Allowed Device list"). Before the first nothing
//! is allowed; after the last stand the devices of every container (its /dev) and mknod of all, which gives no access.

use spec::DeviceRule;

use crate::Error;

pub(crate) const MKNOD: u8 = 1;
pub(crate) const READ: u8 = 2;
pub(crate) const WRITE: u8 = 4;
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Char,
    Block,
}

/// A rule after reading; `None` stands for every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: u8,
}

/// null, zero, full, random, urandom, tty, console, ptmx (Documentation/admin-guide/devices.txt) and all pseudo-terminals.
const SUPPLIED: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

pub(crate) fn rules(list: &[DeviceRule]) -> Result<Vec<Rule>, Error> {
    let mut rules = list.iter().map(Rule::read).collect::<Result<Vec<_>, _>>()?;
    // What stands before a rule for everything has no say.
    if let Some(last) = rules.iter().rposition(|rule| rule.kind == Kind::Any) {
        rules.drain(..last);
    }
    if rules
        .last()
        .is_some_and(|rule| rule.kind == Kind::Any && rule.allow)
    {
        return Ok(rules);
    }
    let allow = |kind, major, minor, access| Rule {
        allow: true,
        kind,
        major,
        minor,
        access,
    };
    rules.extend([Kind::Char, Kind::Block].map(|kind| allow(kind, None, None, MKNOD)));
    rules.extend(SUPPLIED.map(|(major, minor)| allow(Kind::Char, Some(major), minor, ALL)));
    Ok(rules)
}

impl Rule {
    fn read(rule: &DeviceRule) -> Result<Rule, Error> {
        let wrong = |value: String, why| Error::Value {
            what: "device rule".into(),
            value,
            why,
        };
        let kind = match rule.kind.as_str() {
            "" | "a" => Kind::Any,
            "c" | "u" => Kind::Char,
            "b" => Kind::Block,
            other => return Err(wrong(other.to_owned(), "its type is a, b, c or u")),
        };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => {
                let why = "a device's number goes from 0 to 4294967295";
                u32::try_from(number)
                    .map(Some)
                    .map_err(|_| wrong(number.to_string(), why))
            }
        };
        let mut access = 0;
        for letter in rule.access.chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => {
                    return Err(wrong(
                        rule.access.clone(),
                        "its access is made of r, w and m",
                    ));
                }
            };
        }
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        if kind == Kind::Any {
            // As the kernel's v1 controller reads it: everything, whatever else the rule says.
            return Ok(Rule {
                allow: rule.allow,
                kind,
                major: None,
                minor: None,
                access: ALL,
            });
        }
        Ok(Rule {
            allow: rule.allow,
            kind,
            major,
            minor,
            access: if access == 0 { ALL } else { access },
        })
    }

    /// As devices.allow and devices.deny read it.
    pub(crate) fn line(&self) -> String {
        let number =
            |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = match self.kind {
            Kind::Any => return "a".to_owned(),
            Kind::Char => 'c',
            Kind::Block => 'b',
        };
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String = letters
            .iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        format!(
            "{kind} {}:{} {access}",
            number(self.major),
            number(self.minor)
        )
    }

    fn overlaps(&self, other: &Rule) -> bool {
        let same = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && same(self.major, other.major)
            && same(self.minor, other.minor)
            && self.access & other.access != 0
    }

    fn same_devices(&self, other: &Rule) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }
}

/// What v1's files are told, as (allow, line). v1 knows a default and exceptions; an exception to an exception it would
/// take and not hold, so that is refused here.
pub(crate) fn v1_lines(rules: &[Rule]) -> Result<Vec<(bool, String)>, Error> {
    let mut lines = Vec::new();
    let mut default = false;
    let mut exceptions: Vec<Rule> = Vec::new();
    // Whether each of the exceptions is in force as it stands.
    let mut held = true;
    if rules.first().is_none_or(|rule| rule.kind != Kind::Any) {
        lines.push((false, "a".to_owned()));
    }
    for rule in rules {
        if rule.kind == Kind::Any {
            default = rule.allow;
            exceptions.clear();
            held = true;
        } else if rule.allow != default {
            if held && exceptions.contains(rule) {
                continue;
            }
            exceptions.push(*rule);
        } else if exceptions
            .iter()
            .any(|exception| exception.overlaps(rule) && !exception.same_devices(rule))
        {
            let why = "cgroup v1 cannot except some devices of an earlier rule; name the devices one by one";
            return Err(Error::Value {
                what: "device rule".into(),
                value: rule.line(),
                why,
            });
        } else {
            held = false;
        }
        lines.push((rule.allow, rule.line()));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Rule>, Error> {
        rules(&serde_json::from_str::<Vec<DeviceRule>>(text).unwrap())
    }

    #[test]
    fn nothing_is_allowed_but_the_devices_of_every_container() {
        let lines = v1_lines(&parse("[]").unwrap()).unwrap();
        assert_eq!(lines[0], (false, "a".to_owned()));
        assert_eq!(lines[1], (true, "c *:* m".to_owned()));
        assert!(
            lines.contains(&(true, "c 1:3 rwm".to_owned()))
                && lines.contains(&(true, "c 136:* rwm".to_owned()))
        );
    }

    #[test]
    fn what_is_in_force_is_not_said_again() {
        let rule = |allow: bool| {
            format!(r#"{{"allow":{allow},"type":"c","major":1,"minor":3,"access":"rwm"}}"#)
        };
        let count = |rules: &str| {
            let lines = v1_lines(&parse(rules).unwrap()).unwrap();
            let null = |line: &&(bool, String)| **line == (true, "c 1:3 rwm".to_owned());
            lines.iter().filter(null).count()
        };
        assert_eq!(count(&format!("[{}]", rule(true))), 1);
        let (yes, no) = (rule(true), rule(false));
        assert_eq!(count(&format!("[{yes},{no},{yes}]")), 3);
    }

    #[test]
    fn a_privileged_container_is_left_alone() {
        let rules =
            parse(r#"[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]"#).unwrap();
        assert_eq!(v1_lines(&rules).unwrap(), [(true, "a".to_owned())]);
    }

    #[test]
    fn an_exception_to_an_exception_is_refused_where_it_cannot_be_held() {
        let nested = r#"[{"allow":true,"type":"c","major":10,"access":"rw"},{"allow":false,"type":"c","major":10,"minor":200,"access":"w"}]"#;
        assert!(v1_lines(&parse(nested).unwrap()).is_err());
        for bad in [
            r#"[{"allow":true,"type":"x"}]"#,
            r#"[{"allow":true,"type":"c","access":"rx"}]"#,
            r#"[{"allow":true,"type":"c","major":-2}]"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
