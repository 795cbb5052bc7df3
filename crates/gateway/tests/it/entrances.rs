//! Where callers come in: several at once, sockets in the file system, an entrance for operators, TLS.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cresset_gateway::{Entrance, GatewayOptions, Tls};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::house::{House, until};
use crate::wire::Caller;

fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/pem")
        .join(name)
}

/// A caller that trusts who signed the certificates here.
fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(pem("ca.pem")).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn in_tls(house: &House) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(house.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    connector().connect(name, stream).await.unwrap()
}

async fn house_in_tls(options: GatewayOptions) -> House {
    let tls = Tls::load(&pem("one.pem"), &pem("one.key.pem")).unwrap();
    House::entered(|entrance| vec![entrance.in_tls(tls)], options)
        .await
        .with_echo()
        .await
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn certificate(name: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(pem(name)).unwrap().to_vec()
}

#[tokio::test]
async fn callers_come_in_by_several_entrances_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.sock");
    let unix = Entrance::unix(&path, 0o600).unwrap();
    assert_eq!(unix.to_string(), format!("unix:{}", path.display()));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let options = GatewayOptions {
        max_connections_per_address: Some(1),
        ..Default::default()
    };
    let house = House::entered(|tcp| vec![tcp, unix], options)
        .await
        .with_echo()
        .await;
    let mut first = Caller::over(UnixStream::connect(&path).await.unwrap());
    let mut second = Caller::over(UnixStream::connect(&path).await.unwrap());
    let mut third = house.caller().await;
    for caller in [&mut first, &mut second, &mut third] {
        let answer = caller.post("/v1/models/echo/predict", r#"{"input":1}"#).await;
        assert_eq!(answer.json()["result"], 1);
    }
    house.close().await;
    assert!(!path.exists(), "its name goes with the server");
}

#[tokio::test]
async fn the_name_of_a_server_that_is_gone_is_taken_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let entrance = Entrance::unix(&path, 0o660).unwrap();
    let taken = Entrance::unix(&path, 0o660).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse, "its server lives");
    // Another server has the name meanwhile, and keeps it.
    std::fs::remove_file(&path).unwrap();
    let other = Entrance::unix(&path, 0o660).unwrap();
    drop(entrance);
    assert!(path.exists());
    drop(other);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let refused = Entrance::unix(&path, 0o660).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn operators_with_an_entrance_of_their_own_have_what_is_theirs_to_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let admin = Entrance::unix(&path, 0o600).unwrap();
    let house = House::entered(|tcp| vec![tcp.for_callers(), admin], GatewayOptions::default())
        .await
        .with_echo()
        .await;
    let mut operator = Caller::over(UnixStream::connect(&path).await.unwrap());
    for theirs in ["/metrics", "/v1/dead"] {
        assert_eq!(house.get(theirs).await.code(), "unknown_route", "{theirs}");
        assert_eq!(operator.get(theirs).await.status, 200, "{theirs}");
    }
    assert_eq!(house.delete("/v1/dead").await.code(), "unknown_route");
    for everybodys in ["/health/ready", "/v1/models", "/openapi.json"] {
        assert_eq!(house.get(everybodys).await.status, 200, "{everybodys}");
        assert_eq!(operator.get(everybodys).await.status, 200, "{everybodys}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_door_in_tls_speaks_http_1_1() {
    let house = house_in_tls(GatewayOptions::default()).await;
    let stream = in_tls(&house).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(shown(&stream), certificate("one.pem"));
    let mut caller = Caller::over(stream);
    let large = format!(r#"{{"input":"{}"}}"#, "x".repeat(3 << 20));
    for body in [r#"{"input":1}"#, &large] {
        assert_eq!(caller.post("/v1/models/echo/predict", body).await.status, 200);
    }
    caller.send("GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert_eq!(caller.answer().await.code(), "malformed_request");
    let mut rest = Vec::new();
    caller.rest(&mut rest).await; // with TLS's own goodbye, without which this fails
    assert!(rest.is_empty());
    house.close().await;
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_and_who_says_nothing_is_let_go() {
    let house = house_in_tls(GatewayOptions {
        head_timeout: Duration::from_millis(50),
        ..Default::default()
    })
    .await;
    let plain = house.get("/health/live").await;
    assert_eq!((plain.status, plain.code()), (400, "malformed_request".into()));
    let detail = plain.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("https"), "{detail}");
    let mut silent = house.caller().await;
    assert!(silent.is_closed().await);
    let mut begun = house.caller().await;
    begun.send(b"\x16\x03\x01\x02\x00").await;
    assert!(begun.is_closed().await);
    let mut garbage = house.caller().await;
    garbage.send(b"\x16garbage in place of a handshake").await;
    let mut alert = Vec::new();
    garbage.rest(&mut alert).await;
    until(|| {
        house
            .engine
            .render_metrics()
            .contains(r#"cresset_connections_given_up_total{reason="handshake"} 4"#)
    })
    .await;
    house.close().await;
}

#[tokio::test]
async fn a_reader_in_tls_that_never_reads_is_cut_off() {
    let house = house_in_tls(GatewayOptions {
        write_timeout: Duration::from_secs(1),
        ..Default::default()
    })
    .await;
    let path = {
        let mut caller = Caller::over(in_tls(&house).await);
        let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(20 << 20));
        let accepted = caller.post("/v1/models/echo/tasks", body).await;
        accepted.header("location").unwrap().to_owned()
    };
    let mut deaf = Caller::over(in_tls(&house).await);
    deaf.send(format!("GET {path}/result?wait=20s HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    until(|| {
        house
            .engine
            .render_metrics()
            .contains(r#"cresset_connections_given_up_total{reason="write"} 1"#)
    })
    .await;
    let mut reader = Caller::over(in_tls(&house).await);
    assert_eq!(
        reader.get(&format!("{path}/result")).await.status,
        200,
        "who reads gets it"
    );
    house.close().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_who_comes_after_it_and_a_broken_one_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let put = |from: &str, to: &Path| {
        // As tools do it: a new file in the place of the old one.
        let beside = dir.path().join("new");
        std::fs::copy(pem(from), &beside).unwrap();
        std::fs::rename(&beside, to).unwrap();
    };
    put("one.pem", &cert);
    put("one.key.pem", &key);
    let tls = Tls::load(&cert, &key)
        .unwrap()
        .looking_every(Duration::from_millis(5));
    let house = House::entered(|entrance| vec![entrance.in_tls(tls)], GatewayOptions::default()).await;
    let mut before = Caller::over(in_tls(&house).await);
    assert_eq!(before.get("/health/live").await.status, 200);
    // A certificate without its key is no use, and the old one is shown.
    put("two.pem", &cert);
    for _ in 0..20 {
        let stream = in_tls(&house).await;
        assert_eq!(shown(&stream), certificate("one.pem"));
    }
    put("two.key.pem", &key);
    let shows_two = async { while shown(&in_tls(&house).await) != certificate("two.pem") {} };
    tokio::time::timeout(crate::house::LONG, shows_two).await.unwrap();
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&cert, "nothing of the kind").unwrap();
    for _ in 0..20 {
        assert_eq!(shown(&in_tls(&house).await), certificate("two.pem"));
    }
    assert_eq!(
        before.get("/health/live").await.status,
        200,
        "who was there notices nothing"
    );
    house.close().await;
}

#[tokio::test]
async fn certificates_that_cannot_be_used_say_which_file_is_to_blame() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (cert, key, blamed) in [
        (pem("none.pem"), pem("one.key.pem"), pem("none.pem")),
        (empty.clone(), pem("one.key.pem"), empty.clone()),
        (pem("one.pem"), empty.clone(), empty.clone()),
        (pem("one.pem"), pem("two.key.pem"), pem("two.key.pem")),
    ] {
        let error = Tls::load(&cert, &key).unwrap_err();
        assert_eq!(error.file, blamed, "{error}");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_handshake() {
    let house = house_in_tls(GatewayOptions::default()).await;
    let mut begun = TcpStream::connect(house.address).await.unwrap();
    until(|| house.engine.render_metrics().contains("cresset_connections 1")).await;
    house.close().await;
    let mut rest = Vec::new();
    assert_eq!(begun.read_to_end(&mut rest).await.unwrap_or(0), 0);
}
