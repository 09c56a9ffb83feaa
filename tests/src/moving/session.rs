//! Control's half of one connection: which engine has it, its DTLS, and the channel on which messages are numbered.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use sfu_core::engine::command::Command;
use sfu_core::engine::handoff::Enclosed;
use sfu_core::id::TransportKey;
use sfu_core::time::Time;
use sfu_core::transport::DtlsRole;
use sfu_core::transport::association::{Association, AssociationOutput, AssociationState, ExportError, SctpExport};
use sfu_core::transport::certificate::Fingerprint;
use sfu_core::transport::dtls::DtlsIdentity;
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::sctp::{ChannelId, ChannelOptions, Reliability};

/// Its label.
const NUMBERS: &str = "numbers";

#[derive(Debug)]
pub struct Session {
    pub key: TransportKey,
    pub ice: IceCredentials,
    /// The engine that has the keys; the former one until the other has taken it up.
    pub site: usize,
    /// What is left of it at the former engine goes then.
    pub shell_ends: Option<Time>,
    /// It was given an address of the other engine.
    pub is_moving: bool,
    /// The other engine asked for it before its data channels were ready.
    pub is_wanted: bool,
    /// How often that was so.
    pub not_ready: u64,
    identity: DtlsIdentity,
    /// None while it is between two engines.
    association: Option<Association>,
    channel: Option<ChannelId>,
    is_open: bool,
    /// Messages that wait for the association, or for its channel.
    waiting: VecDeque<Vec<u8>>,
}

/// What came out of an association.
#[derive(Debug, Default)]
pub struct Drained {
    pub commands: Vec<Command>,
    pub messages: Vec<Vec<u8>>,
}

impl Session {
    pub fn new(key: TransportKey, ice: IceCredentials, site: usize, identity: DtlsIdentity) -> Self {
        Self {
            key,
            ice,
            site,
            shell_ends: None,
            is_moving: false,
            is_wanted: false,
            not_ready: 0,
            identity,
            association: None,
            channel: None,
            is_open: false,
            waiting: VecDeque::new(),
        }
    }

    pub fn start(&mut self, now: Time, role: DtlsRole, remote: Option<Fingerprint>) {
        self.association = Some(Association::new(role, self.identity.clone(), remote, now));
    }

    pub fn trust(&mut self, now: Time, remote: Fingerprint) {
        if let Some(association) = &mut self.association {
            association.set_remote_fingerprint(now, remote);
        }
    }

    /// Opens the channel from our side.
    pub fn open_channel(&mut self, now: Time) -> Result<()> {
        let options = ChannelOptions { label: NUMBERS.into(), ordered: true, reliability: Reliability::Reliable };
        let association = self.association.as_mut().context("DTLS has not begun")?;
        self.channel = Some(association.open_channel(now, options)?);
        Ok(())
    }

    pub fn send(&mut self, message: Vec<u8>) {
        self.waiting.push_back(message);
    }

    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        if let Some(association) = &mut self.association {
            association.handle_datagram(now, datagram);
        }
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(association) = &mut self.association
            && association.poll_timeout().is_some_and(|at| at <= now)
        {
            association.handle_timeout(now);
        }
    }

    pub fn due(&self) -> Option<Time> {
        let association = self.association.as_ref().and_then(Association::poll_timeout);
        association.into_iter().chain(self.shell_ends).min()
    }

    /// Sends what waits, and takes out what there is.
    pub fn drain(&mut self, now: Time) -> Result<Drained> {
        let mut drained = Drained::default();
        let Some(association) = &mut self.association else { return Ok(drained) };
        loop {
            while let Some(channel) = self.channel.filter(|_| self.is_open)
                && let Some(message) = self.waiting.pop_front()
            {
                association.send(now, channel, &message, false)?;
            }
            let Some(output) = association.poll() else { return Ok(drained) };
            match output {
                AssociationOutput::Datagram(datagram) => {
                    drained.commands.push(Command::SendDtls { transport: self.key, datagram });
                }
                AssociationOutput::Connected { keys } => {
                    drained.commands.push(Command::InstallKeys { transport: self.key, keys });
                }
                AssociationOutput::ChannelOpened(opened) if opened.label == NUMBERS => {
                    (self.channel, self.is_open) = (Some(opened.id), true);
                }
                AssociationOutput::Message { data, .. } => drained.messages.push(data),
                AssociationOutput::ChannelOpened(_) | AssociationOutput::ChannelClosed { .. } => {}
                // The page was closed. If not, it misses what does not come any more.
                AssociationOutput::Closed { .. } => self.is_open = false,
            }
        }
    }

    /// What goes along to the other engine; `None` while its data channels cannot move, or if it went already.
    pub fn enclose(&mut self) -> Result<Option<Enclosed>> {
        let Some(association) = self.association.take() else { return Ok(None) };
        match association.export(SctpExport::Exact) {
            Ok(state) => {
                self.is_wanted = false;
                Ok(Some(Enclosed(serde_json::to_vec(&state)?)))
            }
            Err(ExportError::NotReady(association, _) | ExportError::NotEstablished(association)) => {
                self.association = Some(*association);
                self.is_wanted = true;
                self.not_ready += 1;
                Ok(None)
            }
        }
    }

    /// Goes on with what came along.
    pub fn take_up(&mut self, now: Time, enclosed: &Enclosed) -> Result<()> {
        let state: AssociationState = serde_json::from_slice(&enclosed.0).context("what was enclosed is damaged")?;
        self.association = Some(Association::restore(state, self.identity.clone(), now)?);
        Ok(())
    }
}
