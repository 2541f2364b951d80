//! How many connections one client has open.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Clients {
    most: Option<usize>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Clients {
    pub(crate) fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for one more connection, unless the client has its share.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let Some(most) = self.most else { return Some(Place(None)) };
        let client = client(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        (*count < most).then(|| {
            *count += 1;
            Place(Some((Arc::clone(self), client)))
        })
    }
}

/// A household or a virtual machine has a /64 of its own.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<Clients>, IpAddr)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((clients, client)) = self.0.take() else { return };
        let mut open = clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share_and_gets_it_back() {
        let clients = Clients::new(Some(2));
        let [ours, other]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = clients.enter(ours);
        let _second = clients.enter("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(clients.enter(ours).is_none());
        assert!(clients.enter(other).is_some());
        drop(first);
        assert!(clients.enter(ours).is_some());
        let _v6 = [
            clients.enter("fd00::1".parse().unwrap()).unwrap(),
            clients.enter("fd00::2".parse().unwrap()).unwrap(),
        ];
        assert!(clients.enter("fd00::3".parse().unwrap()).is_none(), "the same /64");
        assert_eq!(clients.open.lock().unwrap().len(), 2, "who has left is forgotten");
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let clients = Clients::new(None);
        let _places: Vec<_> = (0..100).map(|_| clients.enter("10.0.0.1".parse().unwrap()).unwrap()).collect();
        assert!(clients.open.lock().unwrap().is_empty());
    }
}
