//! The broker: of Celery, or between gateways and workers.

use cresset_celery_worker::look;
use cresset_config::ServerConfig;

use super::line::Lines;
use crate::args;
use crate::exit::Trouble;

/// Can it be reached, if there is one.
pub(super) fn look_at(config: &ServerConfig, lines: &mut Lines) -> Result<(), Trouble> {
    let Some(url) = &config.celery.broker else {
        return Ok(());
    };
    match args::block_on(async { Ok(look(&config.celery).await) })? {
        Ok(()) => lines.ok("broker", format!("{url} answers")),
        Err(why) => lines.fail(
            "broker",
            format!("{url}: {why}"),
            "see that Redis or RabbitMQ runs there, and that celery.broker (--broker) has its user, password, and database or virtual host",
        ),
    }
    Ok(())
}
