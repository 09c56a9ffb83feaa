//! A client in the background, and what tests ask of it.

use std::sync::{Arc, Mutex};

use calls_client::peer::RELIABLE;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use prost::Message as _;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::running::{Command, Running};
use super::{Door, Join, LIMIT, Seen};

/// Frames that make sure that somebody is heard: half a second.
const ENOUGH: u64 = 25;

/// What the background task and the test share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub seen: Mutex<Seen>,
    pub changed: Notify,
}

impl Shared {
    pub fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().expect("what was seen"));
        self.changed.notify_waiters();
    }
}

/// Someone in a call. Vanishes without a word when dropped.
#[derive(Debug)]
pub struct Person {
    pub identity: String,
    /// The token it joined with.
    pub token: String,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Person {
    pub(super) async fn join(door: &impl Door, join: Join) -> Self {
        let shared = Arc::<Shared>::default();
        let token = join.token(door.key()).expect("a token");
        let identity = join.identity.clone();
        let running = Running::join(format!("ws://{}", door.http()), token.clone(), join, Arc::clone(&shared));
        let running = timeout(LIMIT, running).await.expect("an answer in time").expect("to be let in");
        let (commands, to_do) = mpsc::unbounded_channel();
        let task = tokio::spawn(running.run(to_do));
        Self { identity, token, shared, commands, task }
    }

    /// The track it speaks on since it joined.
    pub fn voice(&self) -> String {
        format!("{}-voice", self.identity)
    }

    /// Looks at what it has seen.
    pub fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.shared.seen.lock().expect("what was seen"))
    }

    /// Waits until `find` finds something among what it has seen.
    pub async fn wait<T>(&self, what: &str, mut find: impl FnMut(&Seen) -> Option<T>) -> T {
        let found = timeout(LIMIT, async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = self.look(&mut find) {
                    return found;
                }
                changed.await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => self.look(|seen| panic!("{} waits in vain for {what}; it saw {seen:#?}", self.identity)),
        }
    }

    /// Waits for half a second of a track that is yet to come.
    pub async fn hears(&self, cid: &str) {
        let before = self.look(|seen| seen.n_heard(cid));
        self.wait(&format!("frames of {cid}"), |seen| (seen.n_heard(cid) >= before + ENOUGH).then_some(())).await;
    }

    /// Waits for somebody to publish, and returns the track's sid.
    pub async fn sees_track(&self, identity: &str) -> String {
        self.wait(&format!("a track of {identity}"), |seen| Some(seen.person(identity)?.tracks.first()?.sid.clone()))
            .await
    }

    pub async fn leave_received(&self) -> proto::LeaveRequest {
        self.wait("leave", |seen| seen.leave().cloned()).await
    }

    pub fn send(&self, request: Request) {
        self.tell(Command::Signal(Box::new(request)));
    }

    /// Sends a frame on the websocket that need not be a message.
    pub fn send_frame(&self, frame: Message) {
        self.tell(Command::Frame(frame));
    }

    /// Announces and sends a track.
    pub fn publish(&self, cid: &str) {
        self.tell(Command::Publish(cid.to_owned()));
    }

    /// Stops sending a track, and says so in an offer.
    pub fn unpublish(&self, cid: &str) {
        self.tell(Command::Unpublish(cid.to_owned()));
    }

    pub fn subscribe(&self, sid: &str, subscribe: bool) {
        self.send(Request::Subscription(proto::UpdateSubscription {
            track_sids: vec![sid.to_owned()],
            subscribe,
            ..Default::default()
        }));
    }

    pub fn send_data(&self, label: &str, packet: &proto::DataPacket) {
        self.tell(Command::Data(label.to_owned(), packet.encode_to_vec()));
    }

    /// Sends a text reliably to everybody, or to `to`.
    pub fn say(&self, text: &str, to: &[&str]) {
        self.send_data(RELIABLE, &packet(text.as_bytes(), to));
    }

    /// Loses its websocket without a word. Media goes on.
    pub fn cut(&self) {
        self.tell(Command::Cut);
    }

    /// Comes back with a new websocket and the sid it had, or another one.
    pub fn resume(&self, sid: Option<&str>) {
        self.tell(Command::Resume(sid.map(str::to_owned)));
    }

    /// Restarts ICE on the connection it offers.
    pub fn restart_ice(&self) {
        self.tell(Command::RestartIce);
    }

    /// Its media falls silent without a word: neither sent nor received any more.
    pub fn lose_media(&self) {
        self.tell(Command::LoseMedia);
    }

    pub fn forget_gaps(&self) {
        self.shared.update(Seen::forget_gaps);
    }

    /// Sends datagrams as they are, from and to where its media goes.
    pub fn send_datagrams(&self, datagrams: Vec<Vec<u8>>) {
        self.tell(Command::Datagrams(datagrams));
    }

    /// Copies of the datagrams it sent, if it joined [`Join::recorded`].
    pub async fn recorded(&self) -> Vec<Vec<u8>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Recorded(reply));
        answer.await.expect("the client runs")
    }

    fn tell(&self, command: Command) {
        assert!(self.commands.send(command).is_ok(), "{} has ended", self.identity);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A user packet.
pub fn packet(payload: &[u8], to: &[&str]) -> proto::DataPacket {
    let user = proto::UserPacket { payload: payload.to_vec(), ..Default::default() };
    proto::DataPacket {
        destination_identities: to.iter().map(|identity| (*identity).to_owned()).collect(),
        value: Some(proto::data_packet::Value::User(user)),
        ..Default::default()
    }
}
