//! Which proxy leads to a URL: HTTP_PROXY, HTTPS_PROXY and NO_PROXY by the rules of Go's tools (golang.org/x/net
//! http/httpproxy), which registries' clients share. The caller decides what stands in these variables.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use crate::error::Error;

/// The proxies of a call.
#[derive(Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    without: Vec<Pattern>,
}

/// What goes without a proxy.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Everything,
    Addresses(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    /// A name, with what is below it; `below` only that.
    Name {
        name: String,
        below: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    pub fn from_environment() -> Result<Proxies, Error> {
        Proxies::new(|name| {
            let named = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
            named(name).or_else(|| named(&name.to_ascii_lowercase()))
        })
    }

    fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Proxies, Error> {
        let proxy = |name: &'static str| {
            variable(name)
                .map(|text| one(&text).ok_or(Error::Proxy { name }))
                .transpose()
        };
        let without = variable("NO_PROXY").unwrap_or_default();
        Ok(Proxies {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            without: without.split(',').filter_map(pattern).collect(),
        })
    }

    /// None: straight there.
    pub fn of(&self, url: &Uri) -> Option<Proxy> {
        let secure = url.scheme_str() == Some("https");
        let proxy = if secure { &self.https } else { &self.http };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = url.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        if self.goes_without(host, port) {
            return None;
        }
        proxy.clone()
    }

    fn goes_without(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.without.iter().any(|pattern| match pattern {
            Pattern::Everything => true,
            Pattern::Addresses(first, bits) => {
                address.is_some_and(|found| prefix(found, *bits) == prefix(*first, *bits))
            }
            Pattern::Address(one, at) => address == Some(*one) && is_at(*at, port),
            Pattern::Name {
                name,
                below,
                port: at,
            } => {
                let under = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                is_at(*at, port) && (under || !below && host == name)
            }
        })
    }
}

/// A proxy that is spoken to in plain HTTP.
fn one(text: &str) -> Option<Proxy> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    whole
        .starts_with("http://")
        .then(|| Proxy::new(&whole).ok())
        .flatten()
}

fn is_at(wanted: Option<u16>, port: u16) -> bool {
    wanted.is_none_or(|wanted| wanted == port)
}

/// A word of NO_PROXY; what is none is passed over, as Go does.
fn pattern(word: &str) -> Option<Pattern> {
    let word = word.trim().to_ascii_lowercase();
    if word.is_empty() {
        return None;
    }
    if word == "*" {
        return Some(Pattern::Everything);
    }
    if let Some((address, bits)) = word.split_once('/') {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
        return Some(Pattern::Addresses(address, bits));
    }
    if let Ok(address) = word.trim_matches(['[', ']']).parse() {
        return Some(Pattern::Address(address, None));
    }
    let (name, port) = match word.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (word.as_str(), None),
    };
    if let Ok(address) = name.trim_matches(['[', ']']).parse() {
        return Some(Pattern::Address(address, port));
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    let below = name.starts_with('.');
    let name = name.trim_start_matches('.').to_owned();
    (!name.is_empty()).then_some(Pattern::Name { name, below, port })
}

/// The family and the first bits of an address.
fn prefix(address: IpAddr, bits: u8) -> (bool, u128) {
    let (whole, width) = match address {
        IpAddr::V4(four) => (u128::from(four.to_bits()), 32),
        IpAddr::V6(six) => (six.to_bits(), 128),
    };
    let shift = u32::from(width - bits.min(width));
    (address.is_ipv4(), whole.checked_shr(shift).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(without: &str) -> Proxies {
        Proxies::new(|name| {
            Some(match name {
                "HTTP_PROXY" => "http://plain:3128".into(),
                "HTTPS_PROXY" => "secure:3129".into(),
                _ => without.into(),
            })
        })
        .unwrap()
    }

    fn led(proxies: &Proxies, url: &str) -> Option<String> {
        let url: Uri = url.parse().unwrap();
        proxies
            .of(&url)
            .map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn each_scheme_has_its_own() {
        let proxies = of("");
        assert_eq!(
            led(&proxies, "https://r.io/v2").as_deref(),
            Some("secure:3129")
        );
        assert_eq!(
            led(&proxies, "http://r.io/v2").as_deref(),
            Some("plain:3128")
        );
        for near in [
            "http://localhost:5000/",
            "http://127.0.0.9/",
            "https://[::1]:1/",
        ] {
            assert_eq!(led(&proxies, near), None, "{near}");
        }
        assert_eq!(led(&Proxies::default(), "https://r.io/"), None);
    }

    #[test]
    fn what_goes_without() {
        let proxies = of(
            " Example.com , .below.org,*.star.net,10.0.0.0/8,192.0.2.7:5000,[fd00::1],at.io:443,junk/9x,:",
        );
        for (url, without) in [
            ("https://example.com/", true),
            ("https://a.EXAMPLE.com/", true),
            ("https://notexample.com/", false),
            ("https://below.org/", false),
            ("https://a.below.org/", true),
            ("https://star.net/", false),
            ("https://a.star.net/", true),
            ("https://10.200.0.1/", true),
            ("https://11.0.0.1/", false),
            ("https://192.0.2.7:5000/", true),
            ("https://192.0.2.7/", false),
            ("https://[fd00::1]/", true),
            ("https://[fd00::2]/", false),
            ("https://at.io/", true),
            ("http://at.io/", false),
        ] {
            assert_eq!(led(&proxies, url).is_none(), without, "{url}");
        }
        assert_eq!(led(&of("*"), "https://r.io/"), None);
    }

    #[test]
    fn proxies_of_other_kinds_are_refused() {
        for bad in ["socks5://p:1", "https://p:1", "http://", "http://a b"] {
            assert!(one(bad).is_none(), "{bad}");
        }
    }
}
