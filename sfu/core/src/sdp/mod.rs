//! Session descriptions: what a client's says, what ours says, and what both agreed on.
//!
//! Text goes in and comes out; nothing here knows sockets, clocks or calls.
//! [`ClientOffers`] negotiates a peer connection on which the client always offers (single peer connection, or the
//! publishing one of two), [`ServerOffers`] one on which we always offer (the receiving one of two).
//! Both are values that can be written down at any time. The grammar is RFC 8866, the meaning RFC 9429 (JSEP).
//!
//! | file | concept |
//! | --- | --- |
//! | `description` | a parsed description, as types |
//! | `parse` | text to [`Description`], bounded |
//! | `codec`, `extension` | what we take and send, and the intersection with what is offered |
//! | `simulcast` | layers by name |
//! | `candidate` | our addresses as ICE candidates |
//! | `write` | the lines our descriptions are made of |
//! | `answer`, `offer` | one m-line of ours |
//! | `client_offers`, `server_offers` | the two negotiations |
//! | `subscription` | a copy of a track that wants an m-line |

mod answer;
mod candidate;
mod client_offers;
mod codec;
mod description;
mod extension;
mod offer;
mod parse;
mod server_offers;
mod simulcast;
mod subscription;
#[cfg(test)]
mod testing;
mod write;

pub use candidate::{Candidate, Protocol};
pub use client_offers::{
    Answer, ClientOffers, Handling, OfferOutcome, PublishOptions, PublishedSection, SectionRequest,
};
pub use codec::{AcceptedCodec, CodecPolicy, Feedback};
pub use description::{
    Description, Direction, ExtensionMap, Format, IcePwd, Msid, RemoteTransport, Section, SectionKind, Setup,
    SimulcastStream, SsrcGroup,
};
pub use extension::{AcceptedExtension, Extension};
pub use parse::{MAX_DESCRIPTION_BYTES, MAX_SECTIONS, ParseError};
pub use server_offers::{AnswerOutcome, Offer, ServerOffers};
pub use subscription::{Assignment, Subscription};

pub use crate::transport::DtlsRole;
pub use crate::transport::certificate::Fingerprint;

use std::fmt;

use thiserror::Error;

use crate::id::Mid;

/// Our half of a connection's transport, as a description carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalTransport {
    pub ice_ufrag: String,
    pub ice_pwd: String,
    /// SHA-256 of the certificate our DTLS shows.
    pub fingerprint: Fingerprint,
    /// Addresses we can be reached at.
    pub candidates: Vec<Candidate>,
}

impl fmt::Debug for LocalTransport {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTransport").field("ice_ufrag", &self.ice_ufrag).finish_non_exhaustive()
    }
}

/// Why a description could not be negotiated. The state is as before.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NegotiationError {
    #[error("failed to parse the description")]
    Parse(#[from] ParseError),
    #[error("the description has no m-line in use with {0}")]
    Incomplete(&'static str),
    #[error("no certificate fingerprint with sha-256")]
    FingerprintAlgorithm,
    #[error("the certificate fingerprint changed within a connection")]
    FingerprintChanged,
    #[error("the DTLS role changed within a connection")]
    RoleChanged,
    #[error("an answer says neither active nor passive")]
    UndecidedRole,
    #[error("the description has {now} m-lines, the one before had {before}")]
    SectionsRemoved { before: usize, now: usize },
    #[error("the answer leaves out or reorders m-line {0:?}")]
    AnswerMismatch(Mid),
    #[error("there is no offer to answer")]
    NothingOffered,
    #[error("there is no offer in flight to apply an answer to")]
    NotWaiting,
}
