//! One message, one receiver.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cresset_task::{CallbackUrl, Timestamp};
use cresset_webhook::{Courier, Guard, Keys, Reply, Resolve, Secret, Trouble, Words};

use crate::receiver::{Act, Receiver};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Receivers that hang are waited for so long.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// Names that lead somewhere else each time they are looked up: the last for ever.
pub(crate) struct Names {
    leads: HashMap<&'static str, Vec<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn none() -> Arc<Self> {
        Self::leading("", Vec::new())
    }

    fn leading(name: &'static str, to: Vec<Vec<SocketAddr>>) -> Arc<Self> {
        Arc::new(Self {
            leads: HashMap::from([(name, to)]),
            asked: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, name: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let leads = self.leads.get(name).filter(|leads| !leads.is_empty());
        let leads = leads.ok_or_else(|| io::Error::other("no such name"))?;
        Ok(leads[asked.min(leads.len() - 1)].clone())
    }
}

/// One that admits this network too.
fn guard(allow: &str) -> Guard {
    let network = (!allow.is_empty()).then(|| allow.parse().unwrap());
    Guard::allowing(network.into_iter().collect())
}

pub(crate) fn courier(allow: &str, names: Arc<Names>) -> Courier {
    let keys = Keys::read(SECRET).unwrap().unwrap();
    Courier::new(keys, guard(allow)).looking_up(names, PATIENCE)
}

fn words() -> Words {
    Words {
        id: "evt_1".into(),
        body: Bytes::from_static(b"{\"type\":\"webhook.test\"}"),
        trace: None,
    }
}

async fn post(courier: &Courier, url: &str) -> Result<Reply, Trouble> {
    let url: CallbackUrl = url.parse().unwrap();
    courier.post(&url, &words(), Timestamp::now()).await
}

/// What a receiver that does this is understood to say.
async fn said(act: Act) -> Result<Reply, Trouble> {
    let receiver = Receiver::start(move |_, _| act.clone()).await;
    let reply = post(&courier("127.0.0.1/32", Names::none()), &receiver.url("/hook")).await;
    assert_eq!(receiver.got().len(), 1, "it was asked once");
    reply
}

#[tokio::test]
async fn a_message_is_signed_and_whole() {
    let receiver = Receiver::start(|_, _| Act::Say(204, "")).await;
    let reply = post(
        &courier("127.0.0.0/8", Names::none()),
        &receiver.url("/hook?for=us"),
    )
    .await
    .unwrap();
    assert_eq!(reply.status, 204);
    let got = &receiver.got()[0];
    assert_eq!(got.line, "POST /hook?for=us HTTP/1.1");
    assert_eq!(got.body, words().body);
    let header = |name: &str| got.headers[name].as_str();
    assert_eq!(header("host"), format!("127.0.0.1:{}", receiver.port));
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-id"), "evt_1");
    let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
    let now = Timestamp::now().as_micros() / 1_000_000;
    assert!((now - 5..=now).contains(&timestamp));
    let secret: Secret = SECRET.parse().unwrap();
    assert_eq!(
        header("webhook-signature"),
        secret.sign("evt_1", timestamp, &got.body)
    );
}

#[tokio::test]
async fn whatever_it_answers_is_an_answer_and_is_read_no_further_than_needed() {
    for status in [200, 301, 302, 307, 308, 400, 410, 500] {
        // The redirects lead to the receiver itself: it would be asked twice.
        let reply = said(Act::Say(status, "location: /elsewhere\r\n")).await.unwrap();
        assert_eq!((reply.status, &reply.text[..]), (status, &b"ok"[..]));
    }
    let reply = said(Act::Say(429, "retry-after: 120\r\n")).await.unwrap();
    assert_eq!(reply.retry_after.as_deref(), Some("120"));
    let reply = said(Act::Huge).await.unwrap();
    assert_eq!((reply.status, reply.text.len()), (200, 4_096));
}

#[tokio::test]
async fn whatever_it_does_ends_in_time() {
    assert!(matches!(said(Act::Hang).await, Err(Trouble::TimedOut)));
    assert!(matches!(said(Act::Close).await, Err(Trouble::Http(_))));
    assert!(matches!(said(Act::Babble).await, Err(Trouble::Http(_))));
    assert!(matches!(said(Act::HugeHead).await, Err(Trouble::Http(_))));
}

#[tokio::test]
async fn a_text_that_never_ends_does_not_undo_the_answer() {
    let receiver = Receiver::start(|_, _| Act::Drip).await;
    let keys = Keys::read(SECRET).unwrap().unwrap();
    let patient =
        Courier::new(keys, guard("127.0.0.1/32")).looking_up(Names::none(), Duration::from_secs(20));
    let reply = post(&patient, &receiver.url("/")).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.text.len() < 4_096);
}

#[tokio::test]
async fn nobody_there_and_no_such_name_are_told_apart() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let courier = courier("127.0.0.1/32", Names::none());
    let nobody = post(&courier, &format!("http://{unused}/")).await;
    assert!(matches!(nobody, Err(Trouble::Connect(_))), "{nobody:?}");
    assert!(matches!(
        post(&courier, "http://nowhere.example/").await,
        Err(Trouble::Name(_))
    ));
}

#[tokio::test]
async fn without_tls_or_with_a_stranger_s_certificate_https_is_not_spoken() {
    let receiver = Receiver::start(|_, _| Act::Babble).await;
    let at = SocketAddr::from(([127, 0, 0, 1], receiver.port));
    let courier = courier("127.0.0.1/32", Names::leading("hooks.example", vec![vec![at]]));
    for host in ["127.0.0.1", "hooks.example"] {
        let reply = post(&courier, &format!("https://{host}:{}/", receiver.port)).await;
        // What it hears is no request: it waits for the rest, or says what TLS does not.
        assert!(
            matches!(reply, Err(Trouble::Tls(_) | Trouble::TimedOut)),
            "{reply:?}"
        );
    }
    assert!(receiver.got().is_empty(), "nothing was said in the clear");
}

#[tokio::test]
async fn an_address_of_ours_is_refused_however_it_is_reached() {
    let receiver = Receiver::start(|_, _| Act::Say(200, "")).await;
    let ours = SocketAddr::from(([127, 0, 0, 1], receiver.port));
    let public = SocketAddr::from(([8, 8, 8, 8], receiver.port));
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", receiver.port).parse().unwrap();
    for leads in [vec![ours], vec![mapped], vec![public, ours]] {
        let courier = courier("", Names::leading("trick.example", vec![leads]));
        let url = format!("http://trick.example:{}/", receiver.port);
        assert!(matches!(post(&courier, &url).await, Err(Trouble::Refused(_))));
        assert!(
            !courier.refuses(&url.parse().unwrap()),
            "a name is looked up when it is called"
        );
    }
    let courier = courier("", Names::none());
    for host in [
        "127.0.0.1",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        let url = format!("http://{host}:{}/", receiver.port);
        assert!(courier.refuses(&url.parse().unwrap()), "{host}");
        assert!(
            matches!(post(&courier, &url).await, Err(Trouble::Refused(_))),
            "{host}"
        );
    }
    assert!(!courier.refuses(&"http://8.8.8.8/".parse().unwrap()));
    assert!(receiver.got().is_empty());
}

/// A name that leads elsewhere when it is looked up again (rebinding) is not looked up again.
#[tokio::test]
async fn what_was_checked_is_what_is_called() {
    let receiver = Receiver::start(|_, _| Act::Say(200, "")).await;
    let harmless = Receiver::start(|_, _| Act::Say(200, "")).await;
    let first = SocketAddr::from(([127, 0, 0, 2], harmless.port));
    let then = SocketAddr::from(([127, 0, 0, 1], receiver.port));
    let names = Names::leading("rebind.example", vec![vec![first], vec![then]]);
    let courier = courier("127.0.0.2/32", Arc::clone(&names));
    // The harmless one listens on 127.0.0.1 only, so that the call ends there; it never reaches the other.
    let reply = post(&courier, "http://rebind.example/").await;
    assert!(matches!(reply, Err(Trouble::Connect(_))), "{reply:?}");
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    let reply = post(&courier, "http://rebind.example/").await;
    assert!(matches!(reply, Err(Trouble::Refused(_))), "{reply:?}");
    assert!(receiver.got().is_empty());
}
