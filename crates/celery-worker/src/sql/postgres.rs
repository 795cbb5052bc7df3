//! PostgreSQL. A few connections, made when they are needed; one that is lost, or whose statement was not waited for, is not used again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use cresset_celery::Cell;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Error, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::database::{Column, Database, Statement, Wrong};

/// A connection that cannot be had in this time cannot be had now.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A statement takes milliseconds; one that takes so long will not end well.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Enough for results that come in batches: each of their commits waits for the database's disk.
const CONNECTIONS_MAX: usize = 8;
/// Of PostgreSQL's times, the first is 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// What the class of an error code says: the values are wrong, or too much for it.
const CLASSES_OF_VALUES: [&str; 2] = ["22", "54"];

/// How a connection is protected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    /// The server's certificate is checked, with the machine's roots or these.
    On {
        roots: Option<PathBuf>,
    },
}

/// The database.
pub(super) struct Postgres {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    house: TaskTracker,
    leave: CancellationToken,
    idle: Mutex<Vec<Client>>,
    places: Semaphore,
}

impl Postgres {
    pub(super) fn new(
        config: Config,
        tls: Tls,
        house: TaskTracker,
        leave: CancellationToken,
    ) -> Result<Self, String> {
        let tls = match tls {
            Tls::Off => None,
            Tls::On { roots } => Some(MakeRustlsConnect::new(trusting(roots)?)),
        };
        Ok(Self {
            config,
            tls,
            house,
            leave,
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS_MAX),
        })
    }

    /// Calls `act` with a connection that is nobody else's meanwhile.
    async fn with<T>(&self, act: impl AsyncFnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Wrong> {
        let away = |why: &str| Wrong::Away(why.to_owned());
        let _place = self.places.acquire().await.map_err(|_| away("it is closed"))?;
        let used = async {
            let idle = self.idle().pop().filter(|client| !client.is_closed());
            let mut client = match idle {
                Some(client) => client,
                None => self.connect().await?,
            };
            let done = act(&mut client).await;
            if !client.is_closed() {
                self.idle().push(client);
            }
            done
        };
        match timeout(ANSWER_LIMIT, used).await {
            Ok(done) => done.map_err(wrong),
            Err(_) => Err(away("PostgreSQL does not answer")),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends with the client, or when the worker has stopped: clients are kept until then.
    fn drive(&self, connection: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let leave = self.leave.clone();
        self.house.spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error = %error, "a connection to the result backend ended");
                    }
                }
                () = leave.cancelled() => {}
            }
        });
    }

    async fn connect(&self) -> Result<Client, Error> {
        match self.tls.clone() {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await?;
                self.drive(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                self.drive(connection);
                Ok(client)
            }
        }
    }
}

fn trusting(roots: Option<PathBuf>) -> Result<ClientConfig, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("sslrootcert {}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                store.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => drop(store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if store.is_empty() {
        return Err("there are no root certificates to check the database's with".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

fn wrong(error: Error) -> Wrong {
    let Some(told) = error.as_db_error() else {
        // The error names what failed; why is in what caused it.
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        return Wrong::Away(format!("{error}{}", cause.unwrap_or_default()));
    };
    if *told.code() == SqlState::UNIQUE_VIOLATION {
        return Wrong::Duplicate;
    }
    let why = told.message().to_owned();
    match told.code().code().get(..2) {
        Some(class) if CLASSES_OF_VALUES.contains(&class) => Wrong::Refused(why),
        _ => Wrong::Away(why),
    }
}

/// With `$1`, `$2` for `?`.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        out.push_str(&format!("${}{part}", at + 1));
    }
    out
}

/// A cell as a value of the type that its column has.
#[derive(Debug)]
struct Bound<'a>(&'a Cell);

impl ToSql for Bound<'_> {
    fn to_sql(
        &self,
        type_: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Cell::Null => return Ok(IsNull::Yes),
            Cell::Text(text) => out.put_slice(text.as_bytes()),
            Cell::Bytes(bytes) => out.put_slice(bytes),
            Cell::Int(int) if *type_ == Type::INT8 => out.put_i64(*int),
            Cell::Int(int) => out.put_i32(i32::try_from(*int)?),
            Cell::Time(at) => out.put_i64(at.as_micros() - EPOCH_MICROS),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn cells(row: &Row) -> Result<Vec<Cell>, Error> {
    let cell = |(at, column): (usize, &tokio_postgres::Column)| {
        Ok(match *column.type_() {
            Type::INT4 => row
                .try_get::<_, Option<i32>>(at)?
                .map(|int| Cell::Int(int.into())),
            Type::INT8 => row.try_get::<_, Option<i64>>(at)?.map(Cell::Int),
            Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map(|is| Cell::Int(is.into())),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at)?.map(Cell::Bytes),
            _ => row.try_get::<_, Option<String>>(at)?.map(Cell::Text),
        }
        .unwrap_or(Cell::Null))
    };
    row.columns().iter().enumerate().map(cell).collect()
}

async fn run(client: &impl tokio_postgres::GenericClient, statement: &Statement) -> Result<u64, Error> {
    let bound: Vec<Bound<'_>> = statement.cells.iter().map(Bound).collect();
    let values: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    client.execute(&numbered(&statement.sql), &values).await
}

async fn rows(
    client: &impl tokio_postgres::GenericClient,
    statement: &Statement,
) -> Result<Vec<Vec<Cell>>, Error> {
    let bound: Vec<Bound<'_>> = statement.cells.iter().map(Bound).collect();
    let values: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let rows = client.query(&numbered(&statement.sql), &values).await?;
    rows.iter().map(cells).collect()
}

#[async_trait]
impl Database for Postgres {
    async fn columns(&self, table: &'static str) -> Result<Vec<Column>, Wrong> {
        let sql = "SELECT attname::text, atthasdef OR attidentity <> '' FROM pg_attribute \
                   WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped";
        let found = self
            .rows(&Statement::new(sql, vec![Cell::Text(table.into())]))
            .await?;
        let column = |row: Vec<Cell>| match row.as_slice() {
            [Cell::Text(name), Cell::Int(is_filled)] => Some(Column {
                name: name.clone(),
                is_filled: *is_filled != 0,
            }),
            _ => None,
        };
        Ok(found.into_iter().filter_map(column).collect())
    }

    fn next_of(&self, sequence: &'static str) -> String {
        format!("nextval('{sequence}')")
    }

    async fn run(&self, statement: &Statement) -> Result<u64, Wrong> {
        self.with(async |client| run(client, statement).await).await
    }

    async fn rows(&self, statement: &Statement) -> Result<Vec<Vec<Cell>>, Wrong> {
        self.with(async |client| rows(client, statement).await).await
    }

    async fn all(&self, changes: &[Statement], read: &Statement) -> Result<Option<Vec<Vec<Cell>>>, Wrong> {
        self.with(async |client| {
            let transaction = client.transaction().await?;
            for change in changes {
                if run(&transaction, change).await? == 0 {
                    transaction.rollback().await?;
                    return Ok(None);
                }
            }
            let found = rows(&transaction, read).await?;
            transaction.commit().await?;
            Ok(Some(found))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered() {
        assert_eq!(numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(numbered("a"), "a");
    }
}
