//! Opens one connection and says precisely why it can't.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind};
use tokio::{
    net::lookup_host,
    time::{Instant, timeout},
};

use super::{super::BrokerError, address::Address, tls};

/// How long one try may take unless the URL says otherwise (`connection_timeout`, in ms).
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const ACCESS_REFUSED: u16 = 403;
const NOT_ALLOWED: u16 = 530;

/// How far a try came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Resolving,
    Connecting,
    Securing,
    Greeting,
}

/// What the I/O thread tells about the try it makes.
#[derive(Debug)]
struct Progress {
    stage: Stage,
    /// A second handle of the socket: a peer that stays silent is hung up on through it, since
    /// lapin's thread would wait for its greeting for ever.
    socket: Option<std::net::TcpStream>,
}

/// Opens a connection that shows as `name` in the management UI, in one try that ends `until`
/// then at the latest.
pub(super) async fn dial(
    address: &Address,
    name: &str,
    until: Option<Instant>,
) -> Result<Connection, BrokerError> {
    let most =
        address.uri.query.connection_timeout.map_or(CONNECTION_TIMEOUT, Duration::from_millis);
    let wait =
        until.map_or(most, |until| most.min(until.saturating_duration_since(Instant::now())));
    let progress = Arc::new(Mutex::new(Progress { stage: Stage::Resolving, socket: None }));
    let seen = Arc::clone(&progress);
    let at = move |stage| lock(&seen).stage = stage;
    let sockets = Arc::clone(&progress);
    let connector = address.papers.as_ref().map(tls::Papers::connector).transpose()?;
    let runtime = lapin::runtime::default_runtime()
        .map_err(|error| BrokerError::Internal(error.to_string()))?;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connector(
        address.uri.clone(),
        runtime,
        async move |uri, runtime| {
            at(Stage::Resolving);
            let host = uri.authority.host.as_str();
            let peers: Vec<SocketAddr> = lookup_host((host, uri.authority.port)).await?.collect();
            at(Stage::Connecting);
            let stream = AsyncTcpStream::connect(&runtime, peers).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                plain.get_ref().set_nodelay(true)?;
                let handle = plain.get_ref().as_fd().try_clone_to_owned()?;
                lock(&sockets).socket = Some(handle.into());
            }
            let Some(connector) = &connector else {
                at(Stage::Greeting);
                return Ok(stream);
            };
            at(Stage::Securing);
            let stream = stream.into_rustls(connector, host).await?;
            at(Stage::Greeting);
            Ok(stream)
        },
        properties,
    );
    let result = timeout(wait, connecting).await;
    let stage = lock(&progress).stage;
    let socket = lock(&progress).socket.take();
    match result {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(&error, stage, address)),
        Err(_) => {
            if let Some(socket) = socket {
                // It may be gone already, which is as good.
                socket.shutdown(Shutdown::Both).ok();
            }
            Err(address.unreachable(match stage {
                Stage::Resolving => format!("its name was not resolved within {wait:?}"),
                Stage::Connecting => {
                    format!("{} did not answer within {wait:?}", address.endpoint())
                }
                Stage::Securing => {
                    format!(
                        "{} did not finish the TLS handshake within {wait:?}",
                        address.endpoint()
                    )
                }
                Stage::Greeting => {
                    format!(
                        "{} took the connection but did not greet as RabbitMQ does within {wait:?}",
                        address.endpoint()
                    )
                }
            }))
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a failed try into words that say what to change.
fn explain(error: &lapin::Error, stage: Stage, address: &Address) -> BrokerError {
    let endpoint = address.endpoint();
    match error.kind() {
        ErrorKind::ProtocolError(said) => {
            let text = said.get_message().as_str();
            match said.get_id() {
                ACCESS_REFUSED => address.refused(format!(
                    "{text}; correct the user or the password in the URL (user '{}'; 'guest' is \
                     let in from the broker's own machine only)",
                    address.user()
                )),
                NOT_ALLOWED => refused_vhost(text, address),
                _ => address.unreachable(text),
            }
        }
        ErrorKind::IOError(fault) => tls::explain(fault, address).unwrap_or_else(|| match stage {
            Stage::Resolving => address.unreachable(format!(
                "the name '{}' does not resolve ({fault}); correct the host in the URL",
                address.uri.authority.host
            )),
            Stage::Connecting if fault.kind() == io::ErrorKind::ConnectionRefused => {
                address.unreachable(format!("nothing listens on {endpoint}; is RabbitMQ running?"))
            }
            Stage::Connecting => {
                address.unreachable(format!("{endpoint} can't be connected to: {fault}"))
            }
            Stage::Securing => address.unreachable(format!(
                "TLS with {endpoint} failed: {fault}; is it RabbitMQ's TLS port (5671)?"
            )),
            Stage::Greeting if hung_up(fault) => address.unreachable(format!(
                "{endpoint} hung up before it greeted; it is no AMQP port{}, or RabbitMQ is still \
                 starting",
                tls_hint(address)
            )),
            Stage::Greeting => address.unreachable(format!("{endpoint}: {fault}")),
        }),
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => address.unreachable(
            format!("what listens on {endpoint} does not speak AMQP 0-9-1{}", tls_hint(address)),
        ),
        _ => address.unreachable(error.to_string()),
    }
}

fn refused_vhost(text: &str, address: &Address) -> BrokerError {
    let vhost = &address.uri.vhost;
    if text.contains("is down") {
        return address.unreachable(text);
    }
    if text.contains("not found") {
        let hint = if vhost.is_empty() { "; the default vhost is written /%2f" } else { "" };
        return address.refused(format!(
            "there is no vhost '{vhost}'; create it (rabbitmqctl add_vhost '{vhost}') or correct \
             the URL's path{hint}"
        ));
    }
    address.refused(format!(
        "{text}; give user '{user}' permissions in vhost '{vhost}' (rabbitmqctl set_permissions \
         -p '{vhost}' '{user}' ...)",
        user = address.user()
    ))
}

fn hung_up(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
    )
}

const fn tls_hint(address: &Address) -> &'static str {
    match address.uri.scheme {
        lapin::uri::AMQPScheme::AMQP => " (a TLS port wants amqps://)",
        lapin::uri::AMQPScheme::AMQPS => "",
    }
}
