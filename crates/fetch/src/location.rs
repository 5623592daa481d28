//! URLs: which are served, which belong together, and where a reference leads (RFC 3986, section 5).

use ureq::http::Uri;

use crate::error::Error;

/// Reads a URL of http or https, without credentials in it.
pub fn parse(text: &str) -> Result<Uri, Error> {
    served(text).ok_or_else(|| Error::Url {
        url: text.to_owned(),
    })
}

fn served(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let host = url.host().is_some_and(|host| !host.is_empty());
    let plain = !url.authority()?.as_str().contains('@');
    (scheme && host && plain).then_some(url)
}

fn port(url: &Uri) -> u16 {
    let usual = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    url.port_u16().unwrap_or(usual)
}

/// Whether what is secret to one is to the other.
pub fn same_origin(one: &Uri, other: &Uri) -> bool {
    let host = |url: &Uri| url.host().map(str::to_ascii_lowercase);
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

/// Without its query, which may be a secret by itself.
pub fn shown(url: &Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// Where `reference` leads from `base`; None when it is nothing that is served.
pub fn join(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.trim().split('#').next()?;
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let text = if has_scheme(reference) {
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{}", without_dots(reference))
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", base.path())
    } else if reference.is_empty() {
        return None;
    } else {
        let (directory, _) = base.path().rsplit_once('/')?;
        let path = without_dots(&format!("{directory}/{reference}"));
        format!("{scheme}://{authority}{path}")
    };
    served(&text)
}

/// `scheme:` as it begins an absolute URL.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

fn without_dots(text: &str) -> String {
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').collect();
    for (number, part) in parts.iter().enumerate() {
        let last = number + 1 == parts.len();
        match *part {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                // The first part is what is before the first slash: nothing.
                if kept.len() > 1 {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let mut joined = kept.join("/");
    if let Some(query) = query {
        joined.push('?');
        joined.push_str(query);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let base: Uri = "https://r.test:5000/v2/n/blobs/uploads/?x=1"
            .parse()
            .unwrap();
        for (reference, wanted) in [
            ("https://cdn.test/a?b=c#d", Some("https://cdn.test/a?b=c")),
            ("HTTP://cdn.test/a", Some("http://cdn.test/a")),
            ("//cdn.test/a", Some("https://cdn.test/a")),
            ("/v2/a?b", Some("https://r.test:5000/v2/a?b")),
            ("/v2/../../a/./b/..", Some("https://r.test:5000/a/")),
            (
                "id?s=/../x",
                Some("https://r.test:5000/v2/n/blobs/uploads/id?s=/../x"),
            ),
            ("../up", Some("https://r.test:5000/v2/n/blobs/up")),
            ("?y", Some("https://r.test:5000/v2/n/blobs/uploads/?y")),
            ("", None),
            ("ftp://x/y", None),
            ("file:///etc/passwd", None),
            ("https://user:word@x/y", None),
            ("https:///y", None),
            ("javascript:1", None),
        ] {
            let found = join(&base, reference).map(|url| url.to_string());
            assert_eq!(found.as_deref(), wanted, "{reference}");
        }
    }

    #[test]
    fn origins() {
        let same =
            |one: &str, other: &str| same_origin(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://h/a", "https://H:443/b"));
        assert!(same("http://h:80/a", "http://h/b"));
        assert!(!same("https://h/a", "http://h/a"));
        assert!(!same("https://h/a", "https://h:8443/a"));
        assert!(!same("https://h/a", "https://h.evil.test/a"));
    }
}
