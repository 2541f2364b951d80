//! Who vouches for a model: a signature over its `SHA256SUMS` by a key that the user names, as `cosign sign-blob --key` makes it.
//! PURE.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};

pub const SIGNATURE_FILE: &str = "SHA256SUMS.sig";
pub const MAX_SIGNATURE_BYTES: u64 = 16 * 1024;

/// What stands before the key itself in a `SubjectPublicKeyInfo` of each kind.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const EDWARDS: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// ECDSA over P-256 with SHA-256, what cosign makes.
    P256,
    Ed25519,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the public key is not in PEM, or neither of ECDSA over P-256 nor of Ed25519")]
pub struct PublicKeyError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not base64")]
    Encoding,
    #[error("it is not of this list by this key")]
    Mismatch,
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(pem: &str) -> Result<Self, PublicKeyError> {
        let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----").ok_or(PublicKeyError)?;
        let body = body.strip_suffix("-----END PUBLIC KEY-----").ok_or(PublicKeyError)?;
        let der = decode(body).ok_or(PublicKeyError)?;
        let key = |kind, bytes: &[u8], length| {
            (bytes.len() == length).then(|| Self { kind, bytes: bytes.to_vec() })
        };
        let p256 = der.strip_prefix(&P256).and_then(|point| key(Kind::P256, point, 65));
        let edwards = || der.strip_prefix(&EDWARDS).and_then(|point| key(Kind::Ed25519, point, 32));
        p256.or_else(edwards).ok_or(PublicKeyError)
    }
}

impl PublicKey {
    pub fn verify(&self, message: &[u8], signature: &str) -> Result<(), SignatureError> {
        let signature = decode(signature).ok_or(SignatureError::Encoding)?;
        let algorithm: &dyn VerificationAlgorithm = match self.kind {
            Kind::P256 => &ECDSA_P256_SHA256_ASN1,
            Kind::Ed25519 => &ED25519,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.bytes);
        key.verify(message, &signature).map_err(|_| SignatureError::Mismatch)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    use super::*;

    const LIST: &[u8] = b"0a  config.json\n";

    fn pem(prefix: &[u8], key: &[u8]) -> String {
        let body = STANDARD.encode([prefix, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &body[..40], &body[40..])
    }

    /// Key and signature of each kind.
    fn signed() -> [(String, String); 2] {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        let p256 =
            (pem(&P256, pair.public_key().as_ref()), STANDARD.encode(pair.sign(&random, LIST).unwrap()));
        let pair =
            Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
        let edwards = (pem(&EDWARDS, pair.public_key().as_ref()), STANDARD.encode(pair.sign(LIST)));
        [p256, edwards]
    }

    #[test]
    fn a_signature_is_of_one_list_by_one_key() {
        let [first, second] = signed();
        for ((pem, signature), (other, others)) in [(&first, &second), (&second, &first)] {
            let key: PublicKey = pem.parse().unwrap();
            assert_eq!(key.verify(LIST, &format!("{signature}\n")), Ok(()));
            assert_eq!(key.verify(b"0b  config.json\n", signature), Err(SignatureError::Mismatch));
            assert_eq!(key.verify(LIST, others), Err(SignatureError::Mismatch));
            assert_eq!(
                other.parse::<PublicKey>().unwrap().verify(LIST, signature),
                Err(SignatureError::Mismatch)
            );
            assert_eq!(key.verify(LIST, "<html>"), Err(SignatureError::Encoding));
            assert_eq!(key.verify(LIST, ""), Err(SignatureError::Mismatch));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let [(pem, _), _] = signed();
        for text in
            ["", "key", &pem.replace("PUBLIC", "PRIVATE"), &pem.replace('M', "A"), &pem[..pem.len() - 30]]
        {
            assert_eq!(text.parse::<PublicKey>(), Err(PublicKeyError), "{text}");
        }
    }
}
