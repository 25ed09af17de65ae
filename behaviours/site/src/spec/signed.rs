//! The signature of an owner over a spec, and what a node keeps of it.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use opus_core::{Limits, Malformed, OverlayId, codec};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::{
    SPEC_BYTES_MAX, Spec,
    appref::{AppRef, overlay_of},
    error::SpecError,
};

const FORMAT: &str = "opus-app";
const VERSION: u8 = 1;
/// Keeps a signature over a spec from being one over anything else.
const DOMAIN: &[u8] = b"opus/app/1";
/// Bytes of the frame around a spec: array head, name, version, heads, key and signature.
const FRAME_BYTES_MAX: usize = 128;

/// `["opus-app", 1, spec, owner, sig]`: a spec, byte for byte as its owner signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedApp {
    spec: Vec<u8>,
    owner: [u8; 32],
    sig: [u8; 64],
}

/// An application whose signature was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// `name.owner`.
    pub app: AppRef,
    /// Its overlay.
    pub overlay: OverlayId,
    /// The checked spec.
    pub spec: Spec,
    /// What its owner signed.
    pub signed: SignedApp,
}

/// Why a signed spec is refused. Nothing was kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SignedError {
    /// Not the CBOR of a signed spec.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The signature does not fit owner, network and spec.
    #[error("the signature does not fit: another owner, another network or changed bytes")]
    Signature,
    /// Signed well, but not a spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl SignedApp {
    /// Bounds on the encoded form.
    pub const LIMITS: Limits = Limits {
        bytes: SPEC_BYTES_MAX + FRAME_BYTES_MAX,
        depth: 2,
        items: 8,
        text_keys: true,
    };

    /// Signs `spec` for `network` with the owner's ed25519 `secret` (32 bytes, the seed).
    ///
    /// Errors: [`SpecError`] when a value of the spec is out of range.
    pub fn sign(spec: &Spec, network: &str, secret: &[u8; 32]) -> Result<Self, SpecError> {
        let spec = spec.to_cbor()?;
        let key = SigningKey::from_bytes(secret);
        let sig = key.sign(&message(network, &spec)).to_bytes();
        Ok(Self {
            spec,
            owner: key.verifying_key().to_bytes(),
            sig,
        })
    }

    /// Decodes; the signature is checked by [`SignedApp::verify`].
    ///
    /// Errors: [`SignedError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SignedError> {
        let raw: Raw = codec::decode(bytes, Self::LIMITS)?;
        if raw.0 != FORMAT || raw.1 != VERSION {
            return Err(Malformed::Invalid("not a signed application of version 1").into());
        }
        let length = |_| Malformed::Invalid("owner or signature of a wrong length");
        Ok(Self {
            spec: raw.2.into_vec(),
            owner: raw.3.into_vec().try_into().map_err(length)?,
            sig: raw.4.into_vec().try_into().map_err(length)?,
        })
    }

    /// The form that is stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&(
            FORMAT,
            VERSION,
            Bytes::new(&self.spec),
            Bytes::new(&self.owner),
            Bytes::new(&self.sig),
        ))
    }

    /// Checks the signature for `network` (strictly: one lawful form per signature), then the spec.
    ///
    /// Errors: [`SignedError::Signature`], [`SignedError::Spec`].
    pub fn verify(self, network: &str) -> Result<App, SignedError> {
        let key = VerifyingKey::from_bytes(&self.owner).map_err(|_| SignedError::Signature)?;
        let sig = Signature::from_bytes(&self.sig);
        key.verify_strict(&message(network, &self.spec), &sig)
            .map_err(|_| SignedError::Signature)?;
        let spec = Spec::from_cbor(&self.spec)?;
        Ok(App {
            app: AppRef::new(&spec.name, self.owner),
            overlay: overlay_of(&spec.name, &self.owner),
            spec,
            signed: self,
        })
    }

    /// The CBOR map under the signature.
    pub fn spec_bytes(&self) -> &[u8] {
        &self.spec
    }

    /// The owner's public key.
    pub const fn owner(&self) -> &[u8; 32] {
        &self.owner
    }
}

/// The public key of an owner's 32-byte secret.
pub fn owner_of(secret: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

#[derive(Serialize, Deserialize)]
struct Raw(String, u8, ByteBuf, ByteBuf, ByteBuf);

/// `"opus/app/1" 00 network 00 spec`.
fn message(network: &str, spec: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOMAIN.len() + network.len() + spec.len() + 2);
    bytes.extend_from_slice(DOMAIN);
    bytes.push(0);
    bytes.extend_from_slice(network.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(spec);
    bytes
}
