//! Where the store is.

use cresset_task::BadTenant;

use super::Setting;
use super::forms::{setting, words};
use crate::celery::ServiceUrl;
use crate::field::{Field, Refusal, quote};
use crate::server::ServerConfig;

pub(super) const URL: Setting = words(
    setting(
        "store.url",
        ["CRESSET_STORE", "store"],
        Field::Text {
            form: "a URL in quotes, `postgresql://`, `mysql://` or `sqlite://`",
            get: |c| c.store.as_ref().map(ToString::to_string),
            set: set_url,
        },
        "Where tasks and results are kept: `sqlite:///PATH`, a file on a local disk, \
         `postgresql://user:password@host:port/database`, PostgreSQL 15 or newer, or `mysql://user:password@host:port/database`, \
         MySQL 8.0 or MariaDB 10.6 or newer, a database of its own. Behind a `?` the latter two take `sslmode` \
         (`disable`, `prefer`, `require`, `verify-full`) and `sslrootcert`, PostgreSQL also `schema` (`cresset` unless told). Shown \
         without its password.",
    ),
    "the file `tasks.db` in `server.data_dir`",
    r#""postgresql://cresset:secret@db.example/tasks?sslmode=verify-full""#,
);

pub(super) const INBOX: Setting = setting(
    "store.inbox",
    ["CRESSET_INBOX", "inbox"],
    Field::Bool {
        get: |c| c.inbox,
        set: |c, on| c.inbox = on,
    },
    "With a store in PostgreSQL, MySQL or MariaDB: what applications insert into its table `inbox` becomes tasks when their \
     transaction commits. The embedded SQLite has no inbox.",
);

pub(super) const INBOX_TENANT: Setting = words(
    setting(
        "store.inbox_tenant",
        ["CRESSET_INBOX_TENANT", "inbox-tenant"],
        Field::Text {
            form: "the name of a tenant in quotes",
            get: |c| c.inbox_tenant.as_ref().map(ToString::to_string),
            set: set_inbox_tenant,
        },
        "Whose the tasks from the inbox are, where keys are needed: the tenant of the keys that are to see them. Whoever may \
         insert there cannot choose. Without it only keys with the scope `admin` see them.",
    ),
    "nobody's",
    r#""shop""#,
);

fn set_inbox_tenant(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let tenant = text
        .parse()
        .map_err(|error: BadTenant| Refusal::new(error.to_string()))?;
    c.inbox_tenant = Some(tenant);
    Ok(())
}

fn set_url(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let url = ServiceUrl::new(text.trim());
    match url.scheme() {
        "postgresql" | "postgres" | "mysql" | "mariadb" => {}
        "sqlite" => {
            let path = url.reveal().trim_start_matches("sqlite://");
            if !path.starts_with('/') || path.ends_with('/') {
                return Err(Refusal::new(
                    "must have the whole path of a file: `sqlite:///var/lib/cresset/tasks.db`",
                ));
            }
        }
        // Not repeated: whatever it is, it may hold a password.
        "" => {
            return Err(Refusal::new(
                "must be a URL, `postgresql://...`, `mysql://...` or `sqlite:///PATH`",
            ));
        }
        other => {
            return Err(Refusal::new(format!(
                "must begin with `postgresql://`, `mysql://` or `sqlite://`, is {}: tasks are kept in PostgreSQL, in MySQL or MariaDB, or in SQLite",
                quote(other)
            )));
        }
    }
    c.store = Some(url);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_store_is_named_by_its_url_and_shown_without_its_password() {
        let mut config = ServerConfig::default();
        assert_eq!(config.database().as_deref(), Some(Path::new(".cresset/tasks.db")));
        assert!(set_url(&mut config, "sqlite:///srv/tasks.db").is_ok());
        assert_eq!(config.database().as_deref(), Some(Path::new("/srv/tasks.db")));
        assert!(set_url(&mut config, "mariadb://web:secret@db/tasks").is_ok());
        assert!(set_url(&mut config, "postgresql://web:secret@db/tasks").is_ok());
        assert_eq!(config.database(), None);
        assert_eq!(
            config.store.map(|url| url.to_string()).as_deref(),
            Some("postgresql://web:***@db/tasks")
        );
    }

    #[test]
    fn what_is_no_store_is_refused_without_its_password() {
        for bad in [
            "oracle://web:secret@db/tasks",
            "redis://:secret@db",
            "secret",
            "sqlite://tasks.db",
            "sqlite:///",
        ] {
            let mut config = ServerConfig::default();
            let refusal = set_url(&mut config, bad).err();
            assert!(refusal.is_some(), "{bad}");
            assert!(!format!("{refusal:?}").contains("secret"), "{bad}");
        }
    }
}
