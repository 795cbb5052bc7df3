//! Settings come from four layers, and each says where it came from.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use cresset_config::{
    Address, Admission, Auth, ClientBounds, ClientIdentity, Clients, Durability, Effective, GivenFlag, Jwt,
    KeySet, Listen, LogFormat, Mistake, OTHER_VARIABLES, Origin, SETTINGS, Scheme, ServerConfig,
    SettingsFile, Webhooks, render_all,
};
use proptest::prelude::*;

const FILE: &str = r#"[server]
listen = ["0.0.0.0:80", "unix:/run/x.sock"]
admin_listen = "127.0.0.1:81"
socket_mode = "0600"
tls_cert = "cert.pem"
tls_key = "/keys/key.pem"
hsts = "30d"
trusted_proxies = "10.0.0.0/8, ::1"
cors_origins = ["https://app.example.com"]
data_dir = "state"
models = "/srv/models"
max_connections = 10
max_connections_per_address = 3
idle_timeout = "61s"
head_timeout = "4s"
body_timeout = "6s"
write_timeout = "7s"
min_rate = 512
compress_above = "2KiB"
drain_timeout = "5s"
cache_dir = "cache"

[limits]
max_body_bytes = "1MiB"
max_inflight_body_bytes = "8MiB"
max_inflight_answer_bytes = "9MiB"
max_stream_bytes = "5MiB"
spool_above = "128KiB"
max_spool_bytes = "3MiB"
max_wait = "1m"
max_queue_total = 11
max_queue_bytes_total = "12KiB"
max_waiting_total = 13

[clients]
identify = "header"
header = "X-Team"
max_queue = 14
max_queue_bytes = "15KiB"
max_waiting = 16
max_requests = 17

[results]
ttl = "2d"

[store]
inbox = false
inbox_tenant = "shop"
durability = "os"
max_inline_bytes = "1MiB"

[auth]
enabled = true
keys = "who.json"
open_metrics = true
jwt_keys = "https://id.example.com/keys"
jwt_issuer = "https://id.example.com/"
jwt_audience = "inference"
jwt_tenant = "org"
[webhooks]
secrets_file = "secrets"
allow = "10.0.0.0/8, 127.0.0.1"
retention = "2h"

[api]
show_tracebacks = true

[log]
level = "info,cresset_engine=debug"
format = "json"
"#;

fn resolve(
    file: Option<&str>,
    env: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Effective, Vec<Mistake>> {
    let file = file.map(|text| SettingsFile {
        path: Path::new("/etc/cresset/cresset.toml"),
        text,
    });
    let flags: Vec<_> = flags
        .iter()
        .map(|(name, key, value)| GivenFlag {
            name: (*name).into(),
            key: (*key).into(),
            value: (*value).into(),
        })
        .collect();
    Effective::resolve(file, env.iter().copied(), &flags)
}

#[test]
fn with_nothing_given_everything_is_a_default() {
    let effective = resolve(None, &[("HOME", "/home/ada")], &[]).unwrap();
    assert_eq!(
        effective.config,
        ServerConfig {
            cache_dir: "/home/ada/.cache/cresset".into(),
            ..ServerConfig::default()
        }
    );
    assert_eq!(effective.origins.len(), SETTINGS.len());
    assert!(effective.origins.values().all(|o| *o == Origin::Default));
}

#[test]
fn the_cache_follows_xdg_then_home_then_the_data() {
    let cache = |env: &[(&str, &str)]| resolve(None, env, &[]).unwrap().config.cache_dir;
    assert_eq!(
        cache(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
        Path::new("/x/cresset")
    );
    assert_eq!(
        cache(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")]),
        Path::new("/h/.cache/cresset")
    );
    assert_eq!(cache(&[("CRESSET_DATA_DIR", "/data")]), Path::new("/data/cache"));
}

#[test]
fn every_key_reaches_its_field_and_relative_paths_start_at_the_file() {
    let config = resolve(Some(FILE), &[], &[]).unwrap().config;
    let want = ServerConfig {
        listen: vec![
            Listen::tcp(([0, 0, 0, 0], 80).into()),
            Listen {
                at: Address::Unix("/run/x.sock".into()),
                scheme: Scheme::Http,
            },
        ],
        admin_listen: vec![Listen::tcp(([127, 0, 0, 1], 81).into())],
        socket_mode: 0o600,
        tls_cert: Some("/etc/cresset/cert.pem".into()),
        tls_key: Some("/keys/key.pem".into()),
        hsts: Some(Duration::from_secs(30 * 86_400)),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        cors_origins: vec!["https://app.example.com".into()],
        data_dir: "/etc/cresset/state".into(),
        cache_dir: "/etc/cresset/cache".into(),
        models: "/srv/models".into(),
        store: config.store.clone(),
        inbox: false,
        inbox_tenant: Some("shop".parse().unwrap()),
        durability: Durability::Os,
        max_inline_bytes: 1 << 20,
        result_ttl: Duration::from_secs(172_800),
        dead_ttl: Duration::from_secs(30 * 86_400),
        max_body_bytes: 1 << 20,
        max_inflight_body_bytes: 8 << 20,
        max_inflight_answer_bytes: 9 << 20,
        max_stream_bytes: 5 << 20,
        spool_above: 128 << 10,
        max_spool_bytes: 3 << 20,
        admission: Admission {
            max_queue: Some(11),
            max_queue_bytes: Some(12 << 10),
            max_waiting: Some(13),
            client: ClientBounds {
                max_queue: Some(14),
                max_queue_bytes: Some(15 << 10),
                max_waiting: Some(16),
                max_requests: Some(17),
            },
        },
        clients: Clients {
            identify: ClientIdentity::Header,
            header: "X-Team".into(),
        },
        auth: Auth {
            enabled: true,
            keys: Some("/etc/cresset/who.json".into()),
            open_metrics: true,
            jwt: Jwt {
                keys: Some(KeySet::Url("https://id.example.com/keys".into())),
                issuer: Some("https://id.example.com/".into()),
                audience: Some("inference".into()),
                tenant: "org".into(),
            },
        },
        max_wait: Duration::from_secs(60),
        max_connections: 10,
        max_connections_per_address: Some(3),
        idle_timeout: Duration::from_secs(61),
        head_timeout: Duration::from_secs(4),
        body_timeout: Duration::from_secs(6),
        write_timeout: Duration::from_secs(7),
        min_rate: 512,
        compress_above: 2 << 10,
        drain_timeout: Duration::from_secs(5),
        webhooks: Webhooks {
            secrets_file: Some("/etc/cresset/secrets".into()),
            allow: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()],
            retention: Duration::from_secs(7_200),
        },
        show_tracebacks: true,
        celery: cresset_config::Celery::default(),
        log_level: "info,cresset_engine=debug".into(),
        log_format: LogFormat::Json,
    };
    assert_eq!(config, want);
}

#[test]
fn flags_beat_variables_beat_the_file_beats_defaults() {
    let env = [
        ("CRESSET_LISTEN", "127.0.0.1:1"),
        ("CRESSET_MAX_WAIT", "2m"),
        ("CRESSET_RESULT_TTL", ""),
    ];
    let flags = [("--listen", "server.listen", "127.0.0.1:2")];
    let effective = resolve(Some(FILE), &env, &flags).unwrap();
    assert_eq!(effective.config.listen, [Listen::tcp(([127, 0, 0, 1], 2).into())]);
    assert_eq!(effective.config.max_wait, Duration::from_secs(120));
    assert_eq!(
        effective.config.result_ttl,
        Duration::from_secs(172_800),
        "an empty variable counts as not set"
    );
    assert_eq!(
        effective.origins["server.listen"],
        Origin::Flag("--listen".into())
    );
    assert_eq!(
        effective.origins["limits.max_wait"],
        Origin::Env("CRESSET_MAX_WAIT")
    );
    let at = |line| Origin::File {
        path: "/etc/cresset/cresset.toml".into(),
        line,
    };
    assert_eq!(effective.origins["results.ttl"], at(44));
    insta::assert_snapshot!("config_show", effective.to_toml());
    insta::assert_snapshot!(
        "config_show_json",
        serde_json::to_string_pretty(&effective.rows()).unwrap()
    );
}

#[test]
fn what_is_shown_reads_back_as_the_same_settings() {
    let effective = resolve(Some(FILE), &[], &[]).unwrap();
    assert_eq!(
        resolve(Some(&effective.to_toml()), &[], &[]).unwrap().config,
        effective.config
    );
}

#[test]
fn mistakes_of_all_layers_come_at_once() {
    let file = "listen = 1\n[server]\nlisten = 8700\nmax_conections = 3\n[store]\ndurability = \"fsnyc\"\n[log]\nlevel = \"inof\"\n[results]\nttl = 3600\n";
    let env = [
        ("CRESSET_LISTEN", "localhost:80"),
        ("CRESSET_MAX_BODY_BYTES", "64M"),
        ("CRESSET_SHOW_TRACEBACKS", "yes"),
        ("CRESSET_LISTN", "x"),
        ("CRESSET_MODEL", "digits"),
        ("CRESSET_PARENT_PID", "1"),
        ("CRESSET_INSTANCE", "0"),
        ("OTHER", "x"),
    ];
    let flags = [
        ("--listen", "server.listen", "8700"),
        ("--max-wait", "limits.max_wait", "30"),
        ("--set", "limits.max_wiat", "1s"),
    ];
    insta::assert_snapshot!(
        "mistakes_of_all_layers",
        render_all(&resolve(Some(file), &env, &flags).unwrap_err())
    );
}

#[test]
fn settings_that_do_not_go_together_are_told_where_they_stand() {
    let file = "[server]\ntls_key = \"key.pem\"\nlisten = [\"https://1.2.3.4:5\", \"1.2.3.4:6\"]\n";
    let env = [("CRESSET_ADMIN_LISTEN", "1.2.3.4:6")];
    insta::assert_snapshot!(render_all(&resolve(Some(file), &env, &[]).unwrap_err()), @"
    /etc/cresset/cresset.toml:2:1: server.tls_key: needs its certificate: set `server.tls_cert` too

    /etc/cresset/cresset.toml:3:1: server.listen: `https://1.2.3.4:5` needs a certificate: set `server.tls_cert` and `server.tls_key`

    environment variable CRESSET_ADMIN_LISTEN: server.admin_listen: `1.2.3.4:6` is in `server.listen` too
    ");
}

#[test]
fn tokens_need_their_issuer_and_their_audience_and_keys_that_nobody_can_change() {
    let file = "[auth]\njwt_keys = \"/etc/jwks.json\"\njwt_audience = \"cresset\"\n";
    insta::assert_snapshot!(render_all(&resolve(Some(file), &[], &[]).unwrap_err()), @"/etc/cresset/cresset.toml:2:1: auth.jwt_keys: needs `auth.jwt_issuer` too");
    let keys = |text: &str| resolve(None, &[("CRESSET_AUTH_JWT_KEYS", text)], &[]);
    insta::assert_snapshot!(render_all(&keys("http://id.example.com/jwks").unwrap_err()), @r#"environment variable CRESSET_AUTH_JWT_KEYS: auth.jwt_keys: must be an address that begins with https://, or an absolute path, is "http://id.example.com/jwks"
  hint: who can change what comes over plain HTTP could make any token"#);
    insta::assert_snapshot!(render_all(&keys("jwks.json").unwrap_err()), @r#"environment variable CRESSET_AUTH_JWT_KEYS: auth.jwt_keys: must be an address that begins with https://, or an absolute path, is "jwks.json""#);
}

#[test]
fn whose_the_tasks_of_an_inbox_are_is_said_where_there_is_one() {
    let file = "[store]\ninbox_tenant = \"shop\"\n";
    insta::assert_snapshot!(render_all(&resolve(Some(file), &[], &[]).unwrap_err()), @"/etc/cresset/cresset.toml:2:1: store.inbox_tenant: the embedded store has no inbox; set `store.url` to one in PostgreSQL, MySQL or MariaDB, or leave this out");
    for url in ["postgresql://web@db/tasks", "mysql://web@db/tasks"] {
        assert!(
            resolve(Some(file), &[("CRESSET_STORE", url)], &[]).is_ok(),
            "{url}"
        );
    }
}

#[test]
fn an_unknown_variable_is_a_warning_only() {
    let effective = resolve(None, &[("CRESSET_LISTN", "x")], &[]).unwrap();
    insta::assert_snapshot!(effective.warnings[0], @"warning: environment variable CRESSET_LISTN: no such setting, so it does nothing; did you mean `CRESSET_LISTEN`?");
}

#[test]
fn a_variable_that_is_not_text_is_a_mistake() {
    let env = [(OsString::from("CRESSET_LISTEN"), OsString::from_vec(vec![0xff]))];
    let mistakes = Effective::resolve(None, env, &[]).unwrap_err();
    assert_eq!(mistakes[0].message, "must be UTF-8 text");
}

#[test]
fn no_two_settings_share_a_key_a_variable_or_a_flag() {
    for (i, one) in SETTINGS.iter().enumerate() {
        for two in &SETTINGS[i + 1..] {
            assert!(
                one.path() != two.path() && one.env != two.env && one.flag != two.flag,
                "{} {}",
                one.path(),
                two.path()
            );
        }
        assert!(OTHER_VARIABLES.iter().all(|other| other.name != one.env));
    }
}

proptest! {
    #[test]
    fn no_text_and_no_value_make_it_panic(text in "(?s).{0,60}", value in "\\PC{0,20}", which in 0..SETTINGS.len()) {
        let setting = &SETTINGS[which];
        if let Err(mistakes) = resolve(Some(&text), &[(setting.env, &value)], &[("--x", setting.path(), &value)]) {
            prop_assert!(!render_all(&mistakes).is_empty());
        }
    }
}
