//! Bounds how many connections are in the handshake at once: in all, and of one address, so that nobody who opens
//! connections and never speaks keeps others out.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Of IPv6 addresses: whoever has one has its whole network.
const NETWORK_BITS: u32 = 64;

/// Shared by all listeners.
#[derive(Debug)]
pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    /// Those that wait because their address has too many; the next is cut off.
    waiting: Arc<Semaphore>,
    addresses: Arc<DashMap<IpAddr, Arc<Semaphore>>>,
    per_address_max: usize,
}

/// A place for one connection in the handshake, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// Given back first: only then is it known whether the address has others.
    own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
    address: IpAddr,
    addresses: Arc<DashMap<IpAddr, Arc<Semaphore>>>,
}

impl Handshakes {
    pub(super) fn new(max: usize, per_address_max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(max)),
            waiting: Arc::new(Semaphore::new(max)),
            addresses: Arc::default(),
            per_address_max: per_address_max.min(Semaphore::MAX_PERMITS),
        }
    }

    /// Room for one more, of whatever address.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        self.all.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// A place for a connection from this address, if there is one at once; else the room back.
    pub(super) fn enter(&self, ip: IpAddr, room: OwnedSemaphorePermit) -> Result<Place, OwnedSemaphorePermit> {
        let address = network(ip);
        let own = self.of(address).try_acquire_owned();
        match own {
            Ok(own) => Ok(self.place(address, own, room)),
            Err(_) => Err(room),
        }
    }

    /// Waits for a place, not longer than this, and takes nobody's room meanwhile.
    pub(super) async fn wait(&self, ip: IpAddr, room: OwnedSemaphorePermit, longest: Duration) -> Option<Place> {
        let address = network(ip);
        let _waiting = self.waiting.try_acquire().ok()?;
        drop(room);
        let own = timeout(longest, self.of(address).acquire_owned()).await.ok()?.ok()?;
        let room = timeout(longest, self.room()).await.ok()?;
        Some(self.place(address, own, room))
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        self.addresses.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.per_address_max))).clone()
    }

    fn place(&self, address: IpAddr, own: OwnedSemaphorePermit, room: OwnedSemaphorePermit) -> Place {
        Place { own: Some(own), _all: room, address, addresses: self.addresses.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.own.take();
        // Whoever has a place or waits for one holds the semaphore as well.
        self.addresses.remove_if(&self.address, |_, own| Arc::strong_count(own) == 1);
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - NETWORK_BITS))).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES HS-14.
    #[tokio::test]
    async fn one_address_cannot_take_all_places() {
        let handshakes = Handshakes::new(8, 2);
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = handshakes.enter(here, handshakes.room().await).unwrap();
        let _second = handshakes.enter(here, handshakes.room().await).unwrap();
        let room = handshakes.enter(here, handshakes.room().await).unwrap_err();
        assert!(handshakes.enter(there, handshakes.room().await).is_ok());
        let third = handshakes.wait(here, room, Duration::from_secs(5));
        let (third, ()) = tokio::join!(third, async { drop(first) });
        assert!(third.is_some());
        let room = handshakes.room().await;
        assert!(handshakes.wait(here, room, Duration::from_millis(1)).await.is_none());
        drop((third, _second));
        assert!(handshakes.addresses.is_empty(), "nothing is kept of an address without connections");
        assert_eq!(handshakes.all.available_permits(), 8);
    }

    #[test]
    fn an_address_of_version_6_stands_for_its_network() {
        let net = |text: &str| network(text.parse().unwrap());
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:1"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_eq!(net("::ffff:10.0.0.1"), net("10.0.0.1"));
        assert_ne!(net("10.0.0.1"), net("10.0.0.2"));
    }
}
