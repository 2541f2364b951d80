//! Certificates for tests: an authority of their own, and Secrets of type kubernetes.io/tls as folders; and signatures of files.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SigningKey,
};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes `tls.crt` and `tls.key` of a new certificate for a DNS name, and `ca.crt`, as a Secret is mounted.
    pub fn issue(&self, name: &str, folder: &Path) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::create_dir_all(folder)?;
        fs::write(folder.join("tls.crt"), certificate.pem())?;
        fs::write(folder.join("tls.key"), key.serialize_pem())?;
        fs::write(folder.join("ca.crt"), &self.pem)?;
        Ok(())
    }
}

/// Signs files, as `cosign sign-blob --key` does: ECDSA over P-256.
pub struct Signer {
    key: KeyPair,
}

impl Signer {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { key: KeyPair::generate()? })
    }

    /// The public key, in PEM.
    pub fn public_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// A signature in base64.
    pub fn sign(&self, content: &[u8]) -> anyhow::Result<String> {
        Ok(STANDARD.encode(self.key.sign(content)?))
    }
}
