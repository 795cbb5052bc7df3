//! The settings of the entrances: where callers come in, by which certificate, and what is believed of proxies and pages.

use std::time::Duration;

use super::forms::{setting, words};
use super::{
    Setting, set_admin_listen, set_cors_origins, set_listen, set_socket_mode, set_trusted_proxies, shown,
};
use crate::field::Field;

const LISTENS: &str =
    "an address and port, such as \"127.0.0.1:8700\", or \"unix:/run/cresset.sock\"; an array for several";

pub(super) const LISTEN: Setting = setting(
    "server.listen",
    ["CRESSET_LISTEN", "listen"],
    Field::List {
        form: LISTENS,
        get: |c| shown(&c.listen),
        set: set_listen,
    },
    "Where HTTP listens. `0.0.0.0` listens on every network; port 0 takes a free one. With a certificate (`server.tls_cert`) it \
     is TLS, unless the address begins with `http://`; one that begins with `https://` has to have one. `unix:` and a path is \
     a socket in the file system. Sockets that systemd hands over for callers are used instead.",
);

pub(super) const ADMIN_LISTEN: Setting = words(
    setting(
        "server.admin_listen",
        ["CRESSET_ADMIN_LISTEN", "admin-listen"],
        Field::List {
            form: LISTENS,
            get: |c| shown(&c.admin_listen),
            set: set_admin_listen,
        },
        "Where operators are answered: everything is there, and figures (`/metrics`) and dead letters are nowhere else then. \
         A socket called `admin` that systemd hands over is used instead.",
    ),
    "none: everything is where HTTP listens",
    r#""127.0.0.1:8701""#,
);

pub(super) const SOCKET_MODE: Setting = setting(
    "server.socket_mode",
    ["CRESSET_SOCKET_MODE", "socket-mode"],
    Field::Text {
        form: "permissions in octal and in quotes, such as \"0660\"",
        get: |c| Some(format!("{:04o}", c.socket_mode)),
        set: set_socket_mode,
    },
    "Who may use sockets in the file system: writing is what it takes.",
);

pub(super) const TLS_CERT: Setting = words(
    setting(
        "server.tls_cert",
        ["CRESSET_TLS_CERT", "tls-cert"],
        Field::Path {
            get: |c| c.tls_cert.clone(),
            set: |c, path| c.tls_cert = Some(path),
        },
        "The certificate of this server in a PEM file, followed by those between it and a root. Both files are looked at every \
         few seconds, and callers who come after a change are shown the new one; while a new one cannot be used the old one \
         is, and the log says why.",
    ),
    "none: no TLS",
    r#""/etc/cresset/cert.pem""#,
);

pub(super) const TLS_KEY: Setting = words(
    setting(
        "server.tls_key",
        ["CRESSET_TLS_KEY", "tls-key"],
        Field::Path {
            get: |c| c.tls_key.clone(),
            set: |c, path| c.tls_key = Some(path),
        },
        "The key of the certificate in a PEM file.",
    ),
    "none",
    r#""/etc/cresset/key.pem""#,
);

pub(super) const HSTS: Setting = words(
    setting(
        "server.hsts",
        ["CRESSET_HSTS", "hsts"],
        Field::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(3650 * 86_400),
            get: |c| c.hsts,
            set: |c, d| c.hsts = Some(d),
        },
        "Browsers that come in TLS are told to come to this host in nothing else for so long, whatever the port \
         (`Strict-Transport-Security`).",
    ),
    "none: they are not told",
    r#""365d""#,
);

pub(super) const TRUSTED_PROXIES: Setting = words(
    setting(
        "server.trusted_proxies",
        ["CRESSET_TRUSTED_PROXIES", "trusted-proxies"],
        Field::List {
            form: "an array of addresses and networks, or one text with commas between them",
            get: |c| shown(&c.trusted_proxies),
            set: set_trusted_proxies,
        },
        "Proxies that are believed what they say of their callers (`X-Forwarded-For`, or `Forwarded`): the caller is the last \
         in the list that is none of these. Who comes by a socket in the file system is believed where this is set.",
    ),
    "none: such headers mean nothing",
    r#"["127.0.0.1", "10.0.0.0/8"]"#,
);

pub(super) const CORS_ORIGINS: Setting = words(
    setting(
        "server.cors_origins",
        ["CRESSET_CORS_ORIGINS", "cors-origins"],
        Field::List {
            form: "an array of origins, or one text with commas between them; or `\"*\"`",
            get: |c| c.cors_origins.clone(),
            set: set_cors_origins,
        },
        "Pages of these origins may ask this server from a browser (CORS); `\"*\"`: all may.",
    ),
    "none",
    r#"["https://app.example.com"]"#,
);
