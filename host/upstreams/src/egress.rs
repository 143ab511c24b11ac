//! The egress policy: which addresses may be connected to.
//!
//! A name is resolved for each connection, and what comes out is checked before it is connected to: the connection goes to
//! exactly an address that was checked, so an answer that changes between two questions changes nothing. Addresses that
//! are not of the public internet are refused, unless the upstream opens a network that the operator allows its tenant.

mod address;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Deserializer};
use tokio::sync::Semaphore;

pub(crate) use self::address::Refused;

/// A network, as `10.20.0.0/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether all of another network is in this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains_address(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text.parse::<IpNet>();
        let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network == network.trunc() => Ok(Self(network)),
            Ok(network) => Err(format!(
                "{network} has bits beyond its prefix: expected {}",
                network.trunc()
            )),
            Err(_) => Err(format!(
                "`{}` is no network: expected an address and the length of its prefix, such as 10.20.0.0/16",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Addresses that are on their way.
pub type Lookups = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// What resolves names.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// The addresses of a name.
    fn lookup(&self, name: &str) -> Lookups;
}

/// The system's resolver. Asking it occupies a thread that cannot be called back, perhaps for long: as many as
/// `MAX_LOOKUPS` ask at once.
#[derive(Clone)]
pub struct SystemLookup {
    places: Arc<Semaphore>,
    ask: Arc<Ask>,
}

/// What asks and waits for the answer.
type Ask = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Names that one resolver, which is to say one tenant, has looked up at the same time; further ones wait.
const MAX_LOOKUPS: usize = 8;

impl Default for SystemLookup {
    fn default() -> Self {
        Self::asking(|name| {
            let found = (name, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl SystemLookup {
    fn asking(ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            ask: Arc::new(ask),
        }
    }
}

impl fmt::Debug for SystemLookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SystemLookup")
            .field("places", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> Lookups {
        let (places, ask, name) = (Arc::clone(&self.places), Arc::clone(&self.ask), name.to_owned());
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let asking = tokio::task::spawn_blocking(move || {
                // Held until the system has answered, also when nobody waits for it any more.
                let _place = place;
                ask(&name)
            });
            asking.await.map_err(io::Error::other)?
        })
    }
}

/// Which addresses an upstream may connect to.
#[derive(Clone, Debug)]
pub struct Egress {
    open: Arc<[Network]>,
    lookup: Arc<dyn Lookup>,
}

impl Egress {
    /// The public internet and these networks. Some addresses stay refused whatever is open: those of cloud metadata
    /// services, `0.0.0.0` and multicast.
    #[must_use]
    pub fn new(open: &[Network]) -> Self {
        Self {
            open: open.into(),
            lookup: Arc::new(SystemLookup::default()),
        }
    }

    /// The same with names resolved otherwise.
    #[must_use]
    pub fn with_lookup(self, lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, ..self }
    }

    /// Whether an address may be connected to.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        address::check(address, &self.open)
    }

    /// The addresses of a host, which is a name or an address, that may be connected to: at least one.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let found = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.lookup.lookup(host).await.map_err(Unresolved::Failed)?,
        };
        let mut first = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.check(address) {
                Ok(()) => allowed.push(address),
                Err(refused) => {
                    first.get_or_insert(refused);
                }
            }
        }
        if allowed.is_empty() {
            let name = host.to_owned();
            return Err(Unresolved::Refused(NameRefused { name, first }));
        }
        Ok(allowed)
    }
}

/// Why a host has no address that may be connected to.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// What it has may not be connected to.
    Refused(NameRefused),
    /// It could not be resolved.
    Failed(io::Error),
}

/// No address of a name may be connected to.
#[derive(Debug)]
pub(crate) struct NameRefused {
    pub(crate) name: String,
    pub(crate) first: Option<Refused>,
}

impl NameRefused {
    /// What the operator can do.
    pub(crate) fn hint(&self) -> &'static str {
        match &self.first {
            Some(first) if first.can_be_opened => {
                "if it is meant, name its network in the upstream's `networks`, and have the operator allow it in \
                 claimsmith.toml: egress.networks"
            }
            Some(_) => "this address cannot be opened",
            None => "the name has no address",
        }
    }
}

impl fmt::Display for NameRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.first {
            Some(refused) => write!(formatter, "{} resolves to {refused}", self.name),
            None => write!(formatter, "{} has no address", self.name),
        }
    }
}

impl std::error::Error for NameRefused {}

impl Resolve for Egress {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.clone();
        Box::pin(async move {
            match policy.addresses(name.as_str()).await {
                Ok(addresses) => {
                    let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
                    Ok(Box::new(addresses) as Addrs)
                }
                Err(Unresolved::Refused(refused)) => Err(refused.into()),
                Err(Unresolved::Failed(error)) => Err(error.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{Lookup as _, MAX_LOOKUPS, SystemLookup};

    #[tokio::test]
    async fn a_resolver_that_hangs_occupies_so_many_threads_and_no_more() {
        let (answer, hanging) = mpsc::channel::<()>();
        let (asked, hanging) = (Arc::new(AtomicUsize::new(0)), Mutex::new(hanging));
        let seen = Arc::clone(&asked);
        let lookup = SystemLookup::asking(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            // One at a time is answered; the others wait for the lock, which is as good.
            let _ended = hanging.lock().unwrap().recv().is_err();
            Ok(vec![[192, 0, 2, 1].into()])
        });
        let short = Duration::from_millis(20);
        for _ in 0..MAX_LOOKUPS {
            // Whoever asks gives up; the thread goes on.
            assert!(timeout(short, lookup.lookup("crm.example")).await.is_err());
        }
        for _ in 0..3 {
            assert!(timeout(short, lookup.lookup("crm.example")).await.is_err());
        }
        assert_eq!(asked.load(Ordering::SeqCst), MAX_LOOKUPS);
        // A thread that comes back makes room for the next name.
        answer.send(()).unwrap();
        assert!(
            timeout(short * 50, async {
                let _no_answer = timeout(short * 5, lookup.lookup("crm.example")).await;
                while asked.load(Ordering::SeqCst) == MAX_LOOKUPS {
                    tokio::time::sleep(short).await;
                }
            })
            .await
            .is_ok()
        );
        // The threads end, or the test would not.
        drop(answer);
    }
}
