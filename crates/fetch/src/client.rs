//! One server: requests with its trust and its credentials, redirects, and errors by what they mean.
//!
//! Headers of the caller go to the scheme, host and port of the source alone. A redirect from https to http is refused:
//! what it leads to could not be told from what somebody on the way puts there.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::error::Error;
use crate::proxy::Proxies;
use crate::request::Source;
use crate::{location, moment, trust};

const CONNECT: Duration = Duration::from_secs(15);
const HEADERS: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;
/// Of what a server says about a failure.
const DETAIL: u64 = 4096;
const BUFFER: usize = 256 * 1024;
const IDLE: usize = 8;

/// A way to one source.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    pub url: Uri,
    headers: HeaderMap,
    proxies: Proxies,
}

/// An answer, and who gave it in the end.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<Body>,
    pub url: Uri,
}

impl Client {
    pub fn new(source: &Source, user_agent: &str, stall: Duration) -> Result<Client, Error> {
        let url = location::parse(&source.url)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &source.headers {
            let bad = || Error::Header {
                url: source.url.clone(),
                name: name.clone(),
            };
            let header = HeaderName::try_from(name).map_err(|_| bad())?;
            headers.insert(header, HeaderValue::try_from(value).map_err(|_| bad())?);
        }
        let agent = if user_agent.is_empty() {
            concat!("stockade/", env!("CARGO_PKG_VERSION"))
        } else {
            user_agent
        };
        let config = Agent::config_builder()
            .tls_config(trust::config(source)?)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(agent)
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(HEADERS))
            .timeout_per_read(Some(stall))
            .timeout_per_write(Some(stall))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .build();
        Ok(Client {
            agent: Agent::new_with_config(config),
            url,
            headers,
            proxies: Proxies::from_environment()?,
        })
    }

    /// Ends what is under way on its connections, in other threads too.
    pub fn shut(&self) {
        self.agent.clone().shutdown();
    }

    /// GET, wherever it leads to; an answer that is none of success is an error.
    pub fn get(&self, url: &Uri, more: &HeaderMap) -> Result<Answer, Error> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(&Method::GET, &url, more, SendBody::none())?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer {
                    response: self.good(&url, response)?,
                    url,
                });
            }
            url = self.follow(&url, &response)?;
        }
        Err(Error::Redirect {
            url: self.url.to_string(),
            why: format!("more than {REDIRECTS} redirects"),
        })
    }

    /// One request, not followed further; the body is sent as it comes.
    pub fn send(
        &self,
        method: &Method,
        url: &Uri,
        more: &HeaderMap,
        body: SendBody,
    ) -> Result<Response<Body>, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.clone();
        if location::same_origin(url, &self.url) {
            request.headers_mut().extend(self.headers.clone());
        }
        request.headers_mut().extend(more.clone());
        let request = self
            .agent
            .configure_request(request)
            .proxy(self.proxies.of(url))
            .build();
        self.agent.run(request).map_err(|error| failed(url, error))
    }

    /// Where an answer leads to.
    pub fn follow(&self, from: &Uri, response: &Response<Body>) -> Result<Uri, Error> {
        let refused = |why: String| Error::Redirect {
            url: location::shown(from),
            why,
        };
        let to = text(response.headers(), header::LOCATION)
            .ok_or_else(|| refused("the answer says no location".to_owned()))?;
        let next = location::join(from, &to)
            .ok_or_else(|| refused("the answer leads to what is no URL".to_owned()))?;
        if from.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
            return Err(refused(format!(
                "the answer leads from https to {}\n\nhint: the registry, or the proxy before it, must say https in its locations",
                location::shown(&next)
            )));
        }
        Ok(next)
    }

    /// Any 2xx; else the error that it is.
    pub fn good(&self, url: &Uri, response: Response<Body>) -> Result<Response<Body>, Error> {
        if response.status().is_success() {
            return Ok(response);
        }
        // Who a redirect led to must not make anybody say a password.
        if response.status().as_u16() == 401 && location::same_origin(url, &self.url) {
            let challenges: Vec<&str> = response
                .headers()
                .get_all(header::WWW_AUTHENTICATE)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect();
            if !challenges.is_empty() {
                return Err(Error::Challenge {
                    url: location::shown(url),
                    challenge: challenges.join(", "),
                });
            }
        }
        Err(refused(url, response))
    }
}

pub fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn refused(url: &Uri, mut response: Response<Body>) -> Error {
    let wait = text(response.headers(), header::RETRY_AFTER)
        .and_then(|value| moment::seconds_until(&value));
    let mut said = Vec::new();
    // What cannot be read is not told.
    let _ = response
        .body_mut()
        .as_reader()
        .take(DETAIL)
        .read_to_end(&mut said);
    Error::Status {
        url: location::shown(url),
        status: response.status().as_u16(),
        detail: String::from_utf8_lossy(&said).into_owned(),
        wait,
    }
}

/// What a failure of the client means.
fn failed(url: &Uri, source: ureq::Error) -> Error {
    let url = location::shown(url);
    match source {
        ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite | Timeout::RecvResponse) => {
            Error::Stalled { url }
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => {
            Error::Tls { url, source }
        }
        ureq::Error::Io(error) if is_tls(&error) => Error::Tls {
            url,
            source: ureq::Error::Io(error),
        },
        ureq::Error::Io(error) if is_cut(&error) => Error::Cut { url, source: error },
        ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::BodyStalled => {
            Error::Protocol { url, source }
        }
        _ => Error::Connect { url, source },
    }
}

/// What a failure while reading a body means.
pub fn read_failed(url: &Uri, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return Error::Stalled {
            url: location::shown(url),
        };
    }
    Error::Cut {
        url: location::shown(url),
        source: error,
    }
}

fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// A connection that stood before.
fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
