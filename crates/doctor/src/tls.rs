//! A look at the certificate that a server shows.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_certificate::X509Certificate;
use x509_certificate::rfc3280::Name;

use crate::endpoints::{Endpoint, Tls};
use crate::http::SSL_REQUEST;

/// A server's certificate.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Host names that it is for.
    pub(crate) names: Vec<String>,
    /// Seconds since the Unix epoch.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// Why a client that verifies would refuse it.
    pub(crate) refused: Option<String>,
}

/// Why there is nothing to see.
#[derive(Debug)]
pub(crate) enum NoCertificate {
    /// The PostgreSQL server speaks no TLS.
    NotOffered,
    /// The handshake or the certificate's form failed.
    Failed(String),
}

/// Shakes hands with a server and returns its certificate, trusted or not.
///
/// # Errors
/// If there is none.
pub(crate) async fn look(endpoint: &Endpoint, mut stream: TcpStream) -> Result<Shown, NoCertificate> {
    let failed = |error: &dyn std::fmt::Display| NoCertificate::Failed(error.to_string());
    let mut extra = None;
    if let Tls::Postgres { roots, .. } = &endpoint.tls {
        extra.clone_from(roots);
        stream.write_all(&SSL_REQUEST).await.map_err(|error| failed(&error))?;
        if stream.read_u8().await.map_err(|error| failed(&error))? != b'S' {
            return Err(NoCertificate::NotOffered);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = tokio::task::spawn_blocking(move || roots(extra.as_deref()))
        .await
        .map_err(|error| failed(&error))?;
    let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let observer = Arc::new(Observer {
        strict: strict.map_err(|error| error.to_string()),
        provider: Arc::clone(&provider),
        seen: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(observer.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| failed(&error))?;
    // A server that wants a certificate of ours fails after it has shown its own.
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let seen = observer.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (seen, shaken) {
        (Some((der, refused)), _) => read(&der, refused).map_err(NoCertificate::Failed),
        (None, Err(error)) => Err(failed(&error)),
        (None, Ok(_)) => Err(failed(&"the server shows no certificate")),
    }
}

/// Those of the operating system (or of SSL_CERT_FILE), as all clients of the platform use them, and those of a file.
fn roots(extra: Option<&str>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = extra
        && let Ok(certificates) = CertificateDer::pem_file_iter(file)
    {
        roots.add_parsable_certificates(certificates.flatten());
    }
    roots
}

fn read(der: &[u8], refused: Option<String>) -> Result<Shown, String> {
    let certificate =
        X509Certificate::from_der(der).map_err(|error| format!("the certificate is unreadable: {error}"))?;
    let text = |name: &Name| name.user_friendly_str().unwrap_or_default();
    let der = CertificateDer::from(der);
    let end_entity = webpki::EndEntityCert::try_from(&der).ok();
    let names = end_entity.iter().flat_map(|certificate| certificate.valid_dns_names());
    Ok(Shown {
        subject: text(certificate.subject_name()),
        issuer: text(certificate.issuer_name()),
        names: names.map(str::to_owned).collect(),
        not_before: certificate.validity_not_before().timestamp(),
        not_after: certificate.validity_not_after().timestamp(),
        refused,
    })
}

/// Accepts every certificate, and notes what a verifier says of it. Nothing is sent over such a connection.
#[derive(Debug)]
struct Observer {
    strict: Result<Arc<WebPkiServerVerifier>, String>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<(Vec<u8>, Option<String>)>>,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refused = match &self.strict {
            Ok(strict) => strict
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .err()
                .map(|error| error.to_string()),
            // No authority is known to this machine.
            Err(error) => Some(error.clone()),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some((end_entity.to_vec(), refused));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
