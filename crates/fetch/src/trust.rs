//! Certificates: whom a connection believes, and who it says that we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{Certificates, Error};
use crate::request::Source;

/// Where distributions keep the certificates that they trust, in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a source says of trust, as the client takes it.
pub fn config(source: &Source) -> Result<TlsConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = match (&source.client_cert, &source.client_key) {
        (Some(cert), Some(key)) => Some(client(cert, key, &provider)?),
        (None, None) => None,
        (Some(path), None) | (None, Some(path)) => {
            return Err(of(path)(Certificates::Half));
        }
    };
    let roots = if source.insecure || !source.url.starts_with("https:") {
        Vec::new()
    } else {
        roots(&source.ca)?
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .client_cert(client)
        .disable_verification(source.insecure)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn of(path: &Path) -> impl Fn(Certificates) -> Error {
    let path = path.to_owned();
    move |source| Error::Certificates {
        path: path.clone(),
        source,
    }
}

/// The system's, or what SSL_CERT_FILE names, and those given.
fn roots(given: &[PathBuf]) -> Result<Vec<Certificate<'static>>, Error> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
    let mut found = Vec::new();
    for path in named.or_else(usual).iter().chain(given) {
        found.extend(certificates(path)?);
    }
    Ok(found)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let pem = std::fs::read(path).map_err(|error| of(path)(error.into()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(one) =
            item.map_err(|error| of(path)(Certificates::Pem(error)))?
        {
            found.push(one);
        }
    }
    if found.is_empty() {
        return Err(of(path)(Certificates::Empty));
    }
    Ok(found)
}

fn client(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<ClientCert, Error> {
    let chain = certificates(cert)?;
    let pem = std::fs::read(key).map_err(|error| of(key)(error.into()))?;
    let private = PrivateKey::from_pem(&pem).map_err(|error| of(key)(Certificates::Pem(error)))?;
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| of(key)(Certificates::Empty))?;
    // Looked at here because the client takes it for granted.
    let ders = chain
        .iter()
        .map(|one| CertificateDer::from(one.der().to_vec()))
        .collect();
    rustls::sign::CertifiedKey::from_der(ders, der, provider)
        .map_err(|error| of(key)(Certificates::Key(error)))?;
    Ok(ClientCert::new_with_certs(&chain, private))
}
