//! TLS as the settings say: who vouches for the broker, and who vouches for this client. The files
//! are read for every connection, so that a renewed certificate needs no restart.

use std::{fs, io};

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{super::BrokerError, address::Address};
use crate::settings::BrokerSettings;

/// The files that TLS is made with.
#[derive(Debug, Clone)]
pub(super) struct Papers {
    ca: Option<String>,
    /// The certificate and its key.
    own: Option<(String, String)>,
}

impl Papers {
    /// Those of the settings; none for a URL without TLS.
    pub(super) fn of(settings: &BrokerSettings, tls: bool) -> Result<Option<Self>, BrokerError> {
        let BrokerSettings { ca, certificate, key, .. } = settings;
        let named = [("ca", ca), ("certificate", certificate), ("key", key)];
        let first = named.into_iter().find(|(_, path)| !path.is_empty());
        if !tls {
            // Whoever sets one believes that the password travels encrypted.
            return match first {
                None => Ok(None),
                Some((setting, path)) => Err(unusable(
                    setting,
                    path,
                    "the URL says amqp://, which is not encrypted; write amqps:// there, or \
                     remove this setting",
                )),
            };
        }
        let own = match (certificate.as_str(), key.as_str()) {
            ("", "") => None,
            (path, "") => {
                return Err(unusable("certificate", path, "it needs its key: set [broker] key"));
            }
            ("", path) => {
                let why = "it needs its certificate: set [broker] certificate";
                return Err(unusable("key", path, why));
            }
            (certificate, key) => Some((certificate.to_owned(), key.to_owned())),
        };
        let ca = Some(ca.clone()).filter(|path| !path.is_empty());
        Ok(Some(Self { ca, own }))
    }

    /// Reads the files. Where a CA is set, no other is trusted.
    pub(super) fn connector(&self) -> Result<RustlsConnector, BrokerError> {
        let mut config = match &self.ca {
            None => RustlsConnectorConfig::new_with_native_certs().map_err(|error| {
                let why = format!(
                    "the system has no certificate authorities ({error}); name the file of the \
                     broker's own, or install ca-certificates"
                );
                unusable("ca", "", why)
            })?,
            Some(_) => RustlsConnectorConfig::default(),
        };
        if let Some(path) = &self.ca {
            config.add_parsable_certificates(certificates("ca", path)?);
        }
        let Some((certificate, key)) = &self.own else {
            return config.connector_with_no_client_auth().map_err(|error| {
                unusable("ca", self.ca.as_deref().unwrap_or(""), error.to_string())
            });
        };
        let chain = certificates("certificate", certificate)?;
        let text = read("key", key)?;
        let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let why = format!("it holds no private key in PEM without a passphrase ({error})");
            unusable("key", key, why)
        })?;
        config.connector_with_single_cert(chain, secret).map_err(|error| {
            unusable("key", key, format!("it does not go with {certificate}: {error}"))
        })
    }
}

fn certificates(
    setting: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, BrokerError> {
    let text = read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(setting, path, "it holds no certificate in PEM")),
        Err(error) => Err(unusable(setting, path, format!("it is no PEM file: {error}"))),
    }
}

fn read(setting: &'static str, path: &str) -> Result<Vec<u8>, BrokerError> {
    fs::read(path).map_err(|error| unusable(setting, path, error.to_string()))
}

fn unusable(setting: &'static str, path: &str, why: impl Into<String>) -> BrokerError {
    BrokerError::Certificate { setting, path: path.to_owned(), why: why.into() }
}

/// Parts of the names of the alerts by which a broker refuses a client's certificate, or its lack.
const ABOUT_US: [&str; 5] =
    ["ertificate", "UnknownCA", "AccessDenied", "HandshakeFailure", "DecryptError"];

/// Says what a failed handshake means and what to change; `None` for anything but TLS's own
/// refusals. rustls's words are the only sign of which one it was.
pub(super) fn explain(fault: &io::Error, address: &Address) -> Option<BrokerError> {
    let endpoint = address.endpoint();
    let host = &address.uri.authority.host;
    let text = fault.to_string();
    let has = |part: &str| text.contains(part);
    let papers = address.papers.as_ref()?;
    let own = papers.own.as_ref().map(|(certificate, _)| certificate.as_str());
    let why = if has("received fatal alert") {
        if !ABOUT_US.iter().any(|alert| has(alert)) {
            // A broker that is just starting, say.
            return Some(address.unreachable(format!("{endpoint} ended TLS: {text}")));
        }
        match own {
            None if has("ertificateRequired") || has("HandshakeFailure") || has("AccessDenied") => {
                format!(
                    "{endpoint} wants a certificate of this client's own; set [broker] \
                     certificate and key ({text})"
                )
            }
            Some(path) => format!(
                "{endpoint} does not accept this client's certificate {path} ({text}); have the \
                 broker's authority sign it, or renew it"
            ),
            None => format!("{endpoint} ended the TLS handshake: {text}"),
        }
    } else if has("UnknownIssuer") {
        match &papers.ca {
            Some(ca) => format!(
                "{endpoint}'s certificate is not signed by an authority in {ca} ([broker] ca); \
                 correct that file, or beware: this may not be your broker"
            ),
            None => format!(
                "{endpoint}'s certificate is signed by an authority unknown to this system; name \
                 its PEM file in [broker] ca"
            ),
        }
    } else if has("not valid for name") || has("NotValidForName") {
        format!(
            "{endpoint}'s certificate is not for the name '{host}' ({text}); correct the host in \
             the URL, or give the broker a certificate for that name"
        )
    } else if has("expired") || has("Expired") {
        format!(
            "{endpoint}'s certificate has expired ({text}); renew it, and check this machine's clock"
        )
    } else if has("not valid yet") || has("NotValidYet") {
        format!("{endpoint}'s certificate is not valid yet ({text}); check this machine's clock")
    } else if has("invalid peer certificate") {
        format!("{endpoint}'s certificate can't be accepted: {text}")
    } else {
        return None;
    };
    Some(address.refused(why))
}
